"""`obm rebuild`: a new ledger from the files, never in place of one that is there."""

from command_line import Obm
from factories import Store, chat_lines


def test_a_lost_ledger_is_made_anew_and_submission_is_locked(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(3))
    store.directory.ledger.unlink()

    said = obm("rebuild", "--json")

    assert said.code == 0, said.err
    assert (said.json["requests"], said.json["submission_locked"]) == (3, True)
    status = obm("status", "--json").json
    assert status["requests"] == {"pending": 3}
    assert "the ledger was rebuilt" in status["submission_lock"]


def test_it_says_what_was_found_and_what_comes_next(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    store.directory.ledger.unlink()
    said = obm("rebuild")
    assert "2 requests" in said.out
    assert "`obm sweep`" in said.out


def test_a_ledger_that_is_there_is_kept(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2))
    refused = obm("rebuild")
    assert (refused.code, "--force" in refused.err) == (2, True)
    forced = obm("rebuild", "--force", "--json")
    assert forced.code == 0
    assert "-replaced.duckdb" in forced.json["put_aside"]
    assert store.states() == {"pending": 2}


def test_without_segments_there_is_nothing_to_make_a_ledger_of(obm: Obm, store: Store) -> None:
    store.directory.ledger.unlink()
    said = obm("rebuild")
    assert (said.code, "there are no segments" in said.err) == (2, True)
    assert not store.directory.ledger.exists()


def test_a_sweep_without_data_directory_or_key_says_what_is_missing(obm: Obm) -> None:
    said = obm("sweep")
    assert (said.code, "there is no data directory" in said.err) == (2, True)
