"""`obm flush|cancel|pause|resume|retry`: marks in the ledger, with the name of who made them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Obm, RequestFile
from factories import Store, chat_lines, failure_line, success_line

from storage.health import HealthFile
from storage.intake_log import IntakeLog
from storage.received_lines import received_line


@pytest.fixture(name="job")
def job_fixture(store: Store) -> Store:
    """Return a store with one job of four requests, two of which have failed."""
    store.take_in(chat_lines(4), name="tickets")
    batch = store.ended()
    first, second, third, fourth = store.wire_ids(batch)
    store.collect(
        batch, [success_line(first), success_line(second)],
        [failure_line(third), failure_line(fourth)],
    )  # fmt: skip
    return store


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "retry", "flush"])
def test_an_unknown_job_is_answered_with_the_nearest_names(obm: Obm, command: str) -> None:
    said = obm(command, "ticket")
    assert (said.code, "did you mean 'tickets'?" in said.err) == (2, True)


@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "retry"])
def test_without_a_data_directory_they_say_how_to_begin_and_make_none(
    obm: Obm, folder: Path, command: str
) -> None:
    said = obm(command, "tickets")
    assert (said.code, "obm submit FILE" in said.err, list(folder.iterdir())) == (2, True, [])


def test_pending_requests_are_cancelled_at_once(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(3), name="tickets")
    said = obm("cancel", "tickets")
    assert (said.code, "3 pending requests are cancelled" in said.out) == (0, True)
    assert store.states() == {"cancelled": 3}


@pytest.mark.usefixtures("job")
def test_cancelling_what_is_answered_says_so(obm: Obm) -> None:
    assert "nothing was cancelled" in obm("cancel", "tickets").out


def test_a_paused_job_waits_until_it_is_resumed(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(1), name="tickets")
    assert "is paused" in obm("pause", "tickets").out
    assert store.value("SELECT paused FROM jobs")
    assert "was paused already" in obm("pause", "tickets").out
    assert "goes on" in obm("resume", "tickets").out
    assert not store.value("SELECT paused FROM jobs")
    assert "was running already" in obm("resume", "tickets").out


def test_flush_asks_for_what_is_pending_now(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(2), name="tickets")
    assert "2 pending requests go" in obm("flush").out
    assert "2 pending requests of job tickets go" in obm("flush", "tickets").out
    assert store.value("SELECT flush_requested_at FROM jobs") is not None


@pytest.mark.usefixtures("job")
def test_flushing_nothing_says_so(obm: Obm) -> None:
    assert "nothing to flush" in obm("flush").out


def test_flushing_what_was_only_received_yet_does_not_call_it_nothing(
    obm: Obm, store: Store
) -> None:
    log = IntakeLog(store.directory, role="web", seal_seconds=60, seal_bytes=1_000_000)
    log.write([received_line("default", datetime.now(UTC), chat_lines(1)[0])])
    assert "What was received just now" in obm("flush").out
    log.close()


def test_a_retry_asks_first_and_names_the_price_of_it(obm: Obm, job: Store) -> None:
    said = obm("retry", "tickets")
    assert (said.code, "paid a second time" in said.err, "--yes" in said.err) == (2, True, True)
    assert job.states() == {"failed": 2, "succeeded": 2}


def test_a_retry_that_is_agreed_to_makes_failed_requests_pending(obm: Obm, job: Store) -> None:
    said = obm("retry", "tickets", "--yes")
    assert (said.code, "2 requests of job tickets are pending again" in said.out) == (0, True)
    assert job.states() == {"pending": 2, "succeeded": 2}


def test_cancelled_requests_are_retried_only_with_all(obm: Obm, job: Store) -> None:
    job.run("UPDATE requests SET state = 'cancelled' WHERE state = 'failed'")
    said = obm("retry", "tickets", "--yes")
    assert "2 were cancelled: --all retries them too" in said.out
    assert job.states() == {"cancelled": 2, "succeeded": 2}
    obm("retry", "tickets", "--all", "--yes")
    assert job.states() == {"pending": 2, "succeeded": 2}


def test_a_refused_duplicate_is_not_promised_a_retry(obm: Obm, job: Store) -> None:
    job.run(
        "UPDATE requests SET error_code = 'obm_duplicate_custom_id' WHERE row_index = "
        "(SELECT min(row_index) FROM requests WHERE state = 'failed')"
    )
    asked = obm("retry", "tickets")
    assert "1 requests of job tickets would run again" in asked.err
    said = obm("retry", "tickets", "--yes")
    assert "1 requests of job tickets are pending again" in said.out
    assert "1 were refused as duplicates and stay so" in said.out
    assert "once their results" not in said.out
    assert job.states() == {"failed": 1, "pending": 1, "succeeded": 2}
    again = obm("retry", "tickets", "--yes")
    assert "No request of job tickets can be retried now." in again.out
    assert "1 were refused as duplicates" in again.out


def test_what_is_not_recorded_yet_can_be_retried_later(obm: Obm, job: Store) -> None:
    job.run("UPDATE requests SET result_id = NULL WHERE state = 'failed'")
    said = obm("retry", "tickets", "--yes")
    assert "2 more can be retried once their results are recorded" in said.out
    assert job.states() == {"failed": 2, "succeeded": 2}


def test_what_was_done_is_recorded_with_who_did_it(obm: Obm, job: Store) -> None:
    obm("pause", "tickets")
    (move,) = job.rows("SELECT actor, target FROM transitions WHERE actor <> 'pipeline'")
    assert (move["target"], move["actor"].startswith("cli")) == ("paused", True)


def test_it_says_when_no_pipeline_is_there_to_carry_it_out(obm: Obm, store: Store) -> None:
    store.take_in(chat_lines(1), name="tickets")
    assert "No pipeline is running" in obm("flush").out
    HealthFile(store.directory.health, "pipeline").report("running")
    assert "No pipeline" not in obm("flush").out


def test_before_anything_was_taken_in_there_is_nothing_to_steer(
    obm: Obm, request_file: RequestFile
) -> None:
    obm("submit", request_file("a.jsonl"))
    said = obm("flush")
    assert (said.code, "nothing was taken in yet" in said.err) == (2, True)
