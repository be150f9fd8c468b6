"""`obm doctor` as a person and as a script use it."""

from pathlib import Path

import pytest
from ailing import healthy, results_of
from command_line import Obm
from factories import Store


@pytest.fixture(name="system")
def system_fixture(store: Store) -> Store:
    return healthy(store)


@pytest.mark.usefixtures("system")
def test_a_healthy_system_ends_with_0(obm: Obm) -> None:
    said = obm("doctor")

    assert said.code == 0
    assert "healthy (4 segments, 19 requests, 3 batches" in said.out
    assert obm("doctor", "--json").json["healthy"] is True


def test_a_fault_ends_with_3_and_says_what_to_do(system: Store, obm: Obm) -> None:
    results_of(system, 1).unlink()

    said = obm("doctor")

    assert said.code == 3
    assert "fault: result_lines/result_file_missing, 1 found" in said.out
    assert "result 1" in said.out
    assert "What to do: Rebuild it" in said.out
    assert "`obm doctor --repair` does it" in said.out
    (found,) = obm("doctor", "--json").json["findings"]
    assert (found["check"], found["ids"], found["repairable"]) == (
        "result_lines", ["result 1"], True,
    )  # fmt: skip


def test_a_repair_says_what_was_mended_and_ends_with_0(system: Store, obm: Obm) -> None:
    results_of(system, 1).unlink()
    system.run("UPDATE lanes SET backoff_until = now()::TIMESTAMP")

    said = obm("doctor", "--repair")

    assert said.code == 0
    assert "mended: result_files, 1" in said.out
    assert "mended: pause_without_refusal, 1" in said.out
    assert obm("doctor", "--repair", "--json").json["repairs"] == []


def test_a_warning_alone_ends_with_0(system: Store, obm: Obm) -> None:
    system.run("UPDATE lanes SET backoff_until = now()::TIMESTAMP")

    said = obm("doctor")

    assert said.code == 0
    assert "warning: batches/pause_without_refusal" in said.out


def test_before_anything_was_taken_in_all_is_well(obm: Obm, folder: Path) -> None:
    (folder / "data" / "staging" / "inbox").mkdir(parents=True)

    for arguments in (["doctor"], ["doctor", "--repair"]):
        said = obm(*arguments)
        assert said.code == 0
        assert "nothing was taken in yet" in said.out


def test_a_lost_ledger_ends_with_2_and_says_where_a_copy_is(system: Store, obm: Obm) -> None:
    system.directory.ledger.unlink()
    (system.directory.backups / "ledger-20260101T000000-hourly.duckdb").touch()

    for arguments in (["doctor"], ["doctor", "--repair"]):
        said = obm(*arguments)
        assert said.code == 2
        assert "is gone" in said.err
        assert "ledger-20260101T000000-hourly.duckdb" in said.err


def test_without_a_data_directory_it_says_how_to_begin(obm: Obm) -> None:
    said = obm("doctor")

    assert said.code == 2
    assert "obm submit FILE" in said.err
