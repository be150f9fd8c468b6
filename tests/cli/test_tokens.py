"""`obm token` and `obm intake`: who may use the REST API, and when it takes requests."""

import re
from pathlib import Path

from command_line import Obm
from factories import Store, chat_lines

from batching.access import find_identity
from storage.access_tokens import read_tokens
from storage.directory import DataDirectory
from storage.intake_gate import read_pause
from storage.ledger import Ledger


def test_a_new_token_is_printed_alone_and_is_valid(obm: Obm, folder: Path) -> None:
    said = obm("token", "create", "loader", "--scope", "submit", "--scope", "read")
    assert said.code == 0
    assert re.fullmatch(r"obm_[0-9a-f]{8}_\S{43}\n", said.out)
    identity = find_identity(said.out.strip(), read_tokens(DataDirectory(folder / "data")))
    assert identity is not None
    assert (identity.actor, set(identity.scopes)) == ("api:loader", {"submit", "read"})


def test_the_secret_is_neither_kept_nor_shown_again(obm: Obm, folder: Path) -> None:
    secret = obm("token", "create", "a", "--scope", "read").out.strip().split("_", 2)[2]
    for text in (
        obm("token", "list").out,
        obm("token", "list", "--json").out,
        (folder / "data" / "tokens.json").read_text(),
    ):
        assert secret not in text
    assert (folder / "data" / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_the_list_tells_what_each_token_allows(obm: Obm) -> None:
    assert "no tokens" in obm("token", "list").out
    obm("token", "create", "first", "--scope", "operate")
    obm("token", "create", "second", "--scope", "submit")
    obm("token", "revoke", "first")
    found = obm("token", "list", "--json").json
    assert [(token["name"], token["scopes"]) for token in found] == [
        ("first", ["operate"]),
        ("second", ["submit"]),
    ]
    assert [token["revoked_at"] is None for token in found] == [False, True]
    assert "revoked" in obm("token", "list").out


def test_a_revoked_name_can_be_given_again_and_the_old_token_stays_dead(
    obm: Obm, folder: Path
) -> None:
    first = obm("token", "create", "a", "--scope", "read").out.strip()
    taken = obm("token", "create", "a", "--scope", "read")
    assert (taken.code, "already" in taken.err) == (2, True)
    assert obm("token", "revoke", "a").code == 0
    second = obm("token", "create", "a", "--scope", "read").out.strip()
    tokens = read_tokens(DataDirectory(folder / "data"))
    assert find_identity(first, tokens) is None
    assert find_identity(second, tokens) is not None


def test_wrong_usage_is_a_sentence(obm: Obm) -> None:
    assert obm("token", "create", "a").code == 2
    assert obm("token", "create", "a", "--scope", "everything").code == 2
    assert obm("token", "create", "", "--scope", "read").code == 2
    unknown = obm("token", "revoke", "nobody")
    assert (unknown.code, unknown.err.count("\n"), "nobody" in unknown.err) == (2, 1, True)


def test_a_damaged_file_is_named(obm: Obm, folder: Path) -> None:
    obm("token", "create", "a", "--scope", "read")
    (folder / "data" / "tokens.json").write_text("{")
    said = obm("token", "list")
    assert (said.code, "tokens.json" in said.err) == (2, True)


def test_intake_is_paused_and_goes_on(obm: Obm, folder: Path) -> None:
    directory = DataDirectory(folder / "data")
    assert obm("intake", "pause", "--reason", "moving").code == 0
    pause = read_pause(directory)
    assert pause is not None
    assert (pause.reason, pause.actor.startswith("cli")) == ("moving", True)
    assert "already" in obm("intake", "pause").out
    assert obm("intake", "resume").code == 0
    assert read_pause(directory) is None
    assert "not paused" in obm("intake", "resume").out


def moves(folder: Path) -> list[tuple[str, str, str, bool]]:
    store = Store(DataDirectory(folder / "data"), Ledger(DataDirectory(folder / "data")))
    rows = store.rows("SELECT * FROM transitions ORDER BY happened_at, rowid")
    return [
        (row["entity"], row["entity_id"], row["target"], row["actor"].startswith("cli"))
        for row in rows
    ]


def test_tokens_and_the_intake_are_told_in_the_audit_trail(obm: Obm, folder: Path) -> None:
    obm("token", "create", "a", "--scope", "read")
    obm("token", "revoke", "a")
    for _ in range(2):  # what changes nothing is not told
        obm("intake", "pause", "--reason", "moving")
    obm("intake", "resume")
    assert moves(folder) == [
        ("token", "a", "created", True),
        ("token", "a", "revoked", True),
        ("intake", "intake", "paused", True),
        ("intake", "intake", "open", True),
    ]


def test_a_ledger_that_cannot_be_used_keeps_nobody_from_revoking_and_pausing(
    obm: Obm, folder: Path
) -> None:
    text = obm("token", "create", "a", "--scope", "read").out.strip()
    directory = DataDirectory(folder / "data")
    directory.ledger.write_bytes(b"this was a ledger")
    revoked = obm("token", "revoke", "a")
    assert (revoked.code, "not in the audit trail" in revoked.err) == (0, True)
    assert find_identity(text, read_tokens(directory)) is None
    assert obm("intake", "pause").code == 0
    assert read_pause(directory) is not None


def test_no_ledger_is_made_in_place_of_a_lost_one(obm: Obm, folder: Path) -> None:
    store = Store.at(folder / "data")
    store.take_in(chat_lines(1))
    store.directory.ledger.unlink()
    said = obm("token", "create", "a", "--scope", "read")
    assert (said.code, "obm rebuild" in said.err) == (0, True)
    assert obm("cap", "set", "gpt-4o", "5").code == 2
    assert not store.directory.ledger.exists()
