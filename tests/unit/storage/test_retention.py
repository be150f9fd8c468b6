import os
from datetime import timedelta
from pathlib import Path

import pytest
from factories import Store, chat_lines, failure_line

from storage.batch_files import batch_folder
from storage.jobs import retry_job
from storage.ledger import now
from storage.result_files import result_path
from storage.retention import (
    forget_batch_files,
    forget_files,
    forget_outbox,
    forget_requests,
    forget_transitions,
)
from storage.segments import segment_path

LONG_AGO = timedelta(days=40)


def finished(store: Store, name: str = "job", *, deliver: bool = True) -> None:
    """Bring a job to its end, all of it 40 days ago; maybe its results still wait."""
    store.take_in(chat_lines(2), name=name, source_id=name)
    batch = store.claim()
    store.write_input(batch)
    store.answer_all(store.ended_of(batch))
    if deliver:
        store.deliver()
        store.run("UPDATE jobs SET completed_at = ? WHERE name = ?", now() - LONG_AGO, name)
    store.run("UPDATE segments SET created_at = ?", now() - LONG_AGO)
    store.run("UPDATE results SET recorded_at = ?", now() - LONG_AGO)
    store.run("UPDATE batches SET finished_at = ?", now() - LONG_AGO)


def old_file(path: Path, *, days: float = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    moment = (now() - timedelta(days=days)).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_what_was_completed_long_ago_is_forgotten_with_its_files(store: Store) -> None:
    finished(store)
    assert forget_requests(store.ledger, keep_days=30) == 2
    assert store.states() == {}
    assert not segment_path(store.directory.segments, 1).exists()
    assert not result_path(store.directory, 1).exists()
    assert len(store.outbox("job/results.jsonl")) == 2
    assert forget_requests(store.ledger, keep_days=30) == 0


def test_an_endless_job_forgets_what_was_delivered_long_ago_and_nothing_else(
    store: Store,
) -> None:
    finished(store, "old", deliver=False)
    store.deliver()
    store.run("UPDATE requests SET finished_at = ?", now() - LONG_AGO)
    store.run("UPDATE parts SET delivered_at = ?", now() - LONG_AGO)
    store.take_in(chat_lines(1, prefix="pending"), name="later", source_id="s2")
    store.run("UPDATE requests SET job_id = 1")
    store.run("UPDATE jobs SET endless = true, completed_at = NULL")

    assert forget_requests(store.ledger, keep_days=41) == 0
    assert forget_requests(store.ledger, keep_days=30) == 2
    assert store.states() == {"pending": 1}
    assert segment_path(store.directory.segments, 2).exists()
    assert not segment_path(store.directory.segments, 1).exists()


@pytest.mark.parametrize(
    ("delivery_state", "finished_days_ago", "forgotten"),
    [("pending", None, 0), ("exhausted", 40, 0), ("delivered", 1, 0), ("delivered", 40, 1)],
)
def test_an_endless_job_keeps_what_is_still_to_be_pushed_or_was_just_now(
    store: Store, delivery_state: str, finished_days_ago: int | None, forgotten: int
) -> None:
    finished(store)
    store.run("UPDATE requests SET finished_at = ?", now() - LONG_AGO)
    store.run("UPDATE jobs SET endless = true, completed_at = NULL")
    store.run("UPDATE parts SET delivered_at = ?", now() - LONG_AGO)
    store.run("DELETE FROM requests WHERE row_index = 1")
    store.run(
        "INSERT INTO deliveries (delivery_id, job_id, segment, row_index, result_id, "
        "destination_id, state, created_at, attempts, finished_at) "
        "VALUES (1, 1, 1, 0, 1, 1, ?, ?, 1, ?)",
        delivery_state,
        now() - LONG_AGO,
        None if finished_days_ago is None else now() - timedelta(days=finished_days_ago),
    )

    assert forget_requests(store.ledger, keep_days=30) == forgotten


def test_an_endless_job_keeps_what_waits_for_its_file(store: Store) -> None:
    finished(store, deliver=False)
    store.run("UPDATE requests SET finished_at = ?", now() - LONG_AGO)
    store.run("UPDATE jobs SET endless = true")

    assert forget_requests(store.ledger, keep_days=30) == 0


def test_nothing_is_forgotten_before_its_time_or_with_retention_switched_off(store: Store) -> None:
    finished(store)
    assert forget_requests(store.ledger, keep_days=41) == 0
    assert forget_requests(store.ledger, keep_days=0) == 0
    assert forget_batch_files(store.ledger, keep_days=41) == 0
    assert forget_batch_files(store.ledger, keep_days=0) == 0
    assert store.states() == {"succeeded": 2}
    assert segment_path(store.directory.segments, 1).exists()
    assert result_path(store.directory, 1).exists()


def test_undelivered_results_and_unfinished_requests_are_never_forgotten(store: Store) -> None:
    finished(store, "undelivered", deliver=False)
    store.take_in(chat_lines(2), name="pending", source_id="s2")
    store.run("UPDATE segments SET created_at = ?", now() - LONG_AGO)
    assert forget_requests(store.ledger, keep_days=1) == 0
    assert forget_batch_files(store.ledger, keep_days=1) == 0
    assert store.states() == {"pending": 2, "succeeded": 2}
    assert segment_path(store.directory.segments, 1).exists()
    assert segment_path(store.directory.segments, 2).exists()
    assert store.deliver() == 1


def test_a_segment_or_result_that_another_job_needs_stays(store: Store) -> None:
    store.take_in(chat_lines(2), name="done", source_id="s1")
    store.take_in(chat_lines(2), name="going on", source_id="s2")
    store.answer_all(store.ended())
    store.run("UPDATE segments SET created_at = ?", now() - LONG_AGO)
    store.run("UPDATE results SET recorded_at = ?", now() - LONG_AGO)
    store.deliver()
    store.run("UPDATE jobs SET completed_at = ? WHERE name = 'done'", now() - LONG_AGO)
    assert forget_requests(store.ledger, keep_days=30) == 2
    assert not segment_path(store.directory.segments, 1).exists()
    assert segment_path(store.directory.segments, 2).exists()
    assert result_path(store.directory, 1).exists()


def test_the_result_before_a_retry_stays_until_it_is_delivered(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.ended()
    store.collect(batch, None, [failure_line(store.wire_ids(batch)[0])])
    store.run("UPDATE results SET recorded_at = ?", now() - LONG_AGO)
    retry_job(store.ledger, "job", cancelled_too=False, actor="ann")
    forget_requests(store.ledger, keep_days=30)
    assert result_path(store.directory, 1).exists()
    assert store.deliver() == 1


def test_segments_that_the_ledger_does_not_know_are_left_alone(store: Store) -> None:
    unknown = segment_path(store.directory.segments, 77)
    old_file(unknown)
    finished(store)
    forget_requests(store.ledger, keep_days=30)
    assert unknown.exists()


def test_files_that_a_crash_left_after_their_rows_went_are_deleted_later(store: Store) -> None:
    finished(store)
    forget_requests(store.ledger, keep_days=30)
    left = segment_path(store.directory.segments, 1)
    left.write_bytes(b"left")
    forget_requests(store.ledger, keep_days=30)
    assert not left.exists()


def test_batch_folders_are_counted_once_when_they_go(store: Store) -> None:
    finished(store)
    assert batch_folder(store.directory, 1).exists()
    assert forget_batch_files(store.ledger, keep_days=30) == 1
    assert not batch_folder(store.directory, 1).exists()
    assert forget_batch_files(store.ledger, keep_days=30) == 0


def test_files_of_batches_that_are_under_way_stay(store: Store) -> None:
    store.take_in(chat_lines(2))
    store.write_input(store.claim())
    assert forget_batch_files(store.ledger, keep_days=0.000001) == 0
    assert batch_folder(store.directory, 1).exists()


def test_an_archive_forgets_by_the_time_a_file_came_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(store.directory.archive / "s1__old.jsonl")
    assert forget_files(store.directory.archive, keep_days=30) == 0
    assert path.exists()
    (store.directory.archive / "folder").mkdir()
    monkeypatch.setattr("storage.retention.now", lambda: now() + timedelta(days=31))
    assert forget_files(store.directory.archive, keep_days=0) == 0
    assert forget_files(store.directory.archive, keep_days=30) == 1
    assert not path.exists()


def test_the_outbox_forgets_only_what_nobody_has_touched(store: Store) -> None:
    old = old_file(store.directory.outbox / "job" / "parts" / "part-000001.parquet")
    young = old_file(store.directory.outbox / "job" / "results.jsonl", days=1)
    assert forget_outbox(store.directory, keep_days=0) == 0
    assert forget_outbox(store.directory, keep_days=30) == 1
    assert not old.exists()
    assert young.exists()


def test_the_audit_trail_forgets_what_is_before_a_moment(store: Store) -> None:
    store.take_in(chat_lines(2))
    store.run("UPDATE transitions SET happened_at = ?", now() - timedelta(days=31))
    store.claim()
    assert forget_transitions(store.ledger, keep_days=0) == 0
    assert forget_transitions(store.ledger, keep_days=30) == 1
    assert forget_transitions(store.ledger, keep_days=30) == 0
    assert store.value("SELECT count(*) FROM transitions") == 1


def test_a_dead_letter_keeps_its_request_and_what_was_delivered_goes_with_its_attempts(
    store: Store,
) -> None:
    store.take_in(chat_lines(2))
    store.run("INSERT INTO destinations VALUES (1, 'c', 'webhook', 't', now(), NULL, NULL)")
    store.run("UPDATE requests SET destination_id = 1")
    store.answer_all(store.ended())
    store.run("INSERT INTO attempts SELECT delivery_id, 1, now(), 'x', 500, 1, '' FROM deliveries")
    store.run("UPDATE deliveries SET state = 'delivered' WHERE row_index = 0")
    store.run("UPDATE deliveries SET state = 'exhausted' WHERE row_index = 1")
    store.run("UPDATE jobs SET completed_at = ?", now() - LONG_AGO)
    assert forget_requests(store.ledger, keep_days=30) == 1
    assert store.value("SELECT state FROM deliveries") == "exhausted"
    assert store.value("SELECT count(*) FROM attempts") == 1
    store.run("UPDATE deliveries SET state = 'cancelled'")
    assert forget_requests(store.ledger, keep_days=30) == 1
    for table in ("deliveries", "attempts"):
        assert store.value(f"SELECT count(*) FROM {table}") == 0
