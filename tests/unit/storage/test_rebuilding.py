"""What a new ledger knows again from the files alone."""

import shutil
from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from factories import (
    ACCOUNT,
    INSTALLATION,
    Store,
    chat_line,
    chat_lines,
    failure_line,
    no_cost,
    not_run_line,
    success_line,
)

from batching.jobs import JobSettings
from batching.lifecycle import BatchState
from storage.backups import back_up_ledger
from storage.batch_files import batch_folder, manifest_path
from storage.endings import Ending, fail_requests
from storage.jobs import cancel_job, retry_job
from storage.ledger import Ledger, now
from storage.rebuilding.catching_up import catch_up, catch_up_if_locked
from storage.rebuilding.new_ledger import rebuild_ledger
from storage.results import write_own_results_of_requests
from storage.retention import forget_requests
from storage.segment_records import (
    read_segment_record,
    record_path,
    write_missing_records,
)
from storage.submission_lock import submission_lock

WEBHOOK = {"type": "webhook", "webhook_url": "https://example.com/results"}


def rebuilt(store: Store) -> Store:
    """Return the store with a ledger that was made of its files."""
    rebuild_ledger(
        store.directory, force=True, account=ACCOUNT, cost_of=no_cost, memory_bytes=1_000_000_000
    )
    return Store(store.directory, Ledger.open(store.directory))


def collected(store: Store, lines: int = 3, **take_in: Any) -> None:
    """Take requests in, send them, and collect a success for each."""
    store.take_in(chat_lines(lines, prefix=take_in.get("name", "id")), **take_in)
    batch = store.claim()
    store.write_input(batch)
    store.answer_all(store.ended_of(batch))


def test_jobs_come_back_with_their_settings_and_numbers(store: Store) -> None:
    settings = JobSettings(label="Tickets", delivery_config=WEBHOOK, max_wait_seconds=7.0)
    store.take_in(chat_lines(2, prefix="first"), name="first", source_id="s1")
    store.take_in(chat_lines(2), name="tickets", source_id="s2", settings=settings)
    sql = (
        "SELECT name, slug, label, endless, delivery_config, max_wait_seconds, created_at, "
        "job_id FROM jobs ORDER BY job_id"
    )
    requests = (
        "SELECT * EXCLUDE (lane_id), config FROM requests LEFT JOIN destinations "
        "USING (destination_id) ORDER BY segment, row_index"
    )
    before = store.rows(sql), store.rows(requests.replace("* EXCLUDE (lane_id)", "requests.*"))

    after = rebuilt(store)

    assert after.rows(sql) == before[0]
    assert after.rows(requests.replace("* EXCLUDE (lane_id)", "requests.*")) == before[1]
    assert after.value("SELECT count(*) FROM lanes") == store.value("SELECT count(*) FROM lanes")


def test_sources_come_back_so_that_nothing_is_taken_in_twice(store: Store) -> None:
    store.take_in(chat_lines(3), source_id="s1")
    before = store.rows("SELECT * FROM sources")
    assert rebuilt(store).rows("SELECT * FROM sources") == before


def test_the_installation_keeps_its_name_in_wire_ids(store: Store) -> None:
    collected(store)
    assert rebuilt(store).ledger.installation() == INSTALLATION


def test_lines_that_repeated_others_become_no_requests(store: Store) -> None:
    same, other = chat_line("a"), chat_line("a", text="other")
    store.take_in([same, same, other, chat_line("b")])
    assert store.states() == {"pending": 2}
    after = rebuilt(store)
    assert after.rows("SELECT row_index, custom_id FROM requests ORDER BY 1") == [
        {"row_index": 0, "custom_id": "a"}, {"row_index": 3, "custom_id": "b"},
    ]  # fmt: skip


def test_without_its_record_a_segment_keeps_jobs_and_leaves_repeats_out(store: Store) -> None:
    collected(store, name="first", source_id="s1")
    store.take_in([chat_line("x"), chat_line("x"), chat_line("y")], name="second", source_id="s2")
    jobs = store.rows("SELECT job_id, name, slug FROM jobs ORDER BY job_id")
    for number in (1, 2):
        record_path(store.directory.segments, number).unlink()
    after = rebuilt(store)
    assert after.rows("SELECT job_id, name, slug FROM jobs ORDER BY job_id") == jobs
    assert after.states() == {"pending": 2, "succeeded": 3}


def test_records_that_are_missing_are_written_afterwards(store: Store) -> None:
    store.take_in(chat_lines(2), settings=JobSettings(label="L", delivery_config=WEBHOOK))
    path = record_path(store.directory.segments, 1)
    before = path.read_bytes()
    path.unlink()
    assert (write_missing_records(store.ledger), write_missing_records(store.ledger)) == (1, 0)
    assert path.read_bytes() == before


def test_a_record_goes_with_its_segment(store: Store) -> None:
    collected(store)
    store.deliver()
    store.run("UPDATE jobs SET completed_at = ?", now() - timedelta(days=9))
    store.run("UPDATE segments SET created_at = ?", now() - timedelta(days=9))
    assert forget_requests(store.ledger, keep_days=1) == 3
    assert list(store.directory.segments.iterdir()) == []


def test_a_damaged_record_counts_as_none(store: Store) -> None:
    store.take_in(chat_lines(2))
    record_path(store.directory.segments, 1).write_bytes(b"{")
    assert read_segment_record(store.directory.segments, 1) is None
    assert rebuilt(store).states() == {"pending": 2}


def test_results_come_back_with_all_that_the_ledger_says_of_them(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.claim()
    store.write_input(batch)
    first, second, third = store.wire_ids(batch)
    ended = store.ended_of(batch)
    store.collect(ended, [success_line(first), success_line(second)], [failure_line(third)])
    sql = (
        "SELECT state, batch_id, result_id, result_bytes, status_code, error_code, input_tokens, "
        "output_tokens FROM requests ORDER BY row_index"
    )
    counts = "SELECT state, succeeded, failed, cancelled, returned, input_tokens FROM batches"
    before = store.rows(sql), store.rows(counts)
    after = rebuilt(store)
    assert (after.rows(sql), after.rows(counts)) == before


def test_a_request_that_went_back_waits_again_and_counts_as_tried(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.claim()
    store.write_input(batch)
    first, second = store.wire_ids(batch)
    store.collect(store.ended_of(batch), [success_line(first)], [not_run_line(second)])
    after = rebuilt(store)
    assert after.states() == {"pending": 1, "succeeded": 1}
    assert after.value("SELECT attempts FROM requests WHERE state = 'pending'") == 1


def test_a_request_belongs_to_the_last_batch_that_it_was_sent_with(store: Store) -> None:
    store.take_in(chat_lines(2))
    first = store.claim()
    store.write_input(first)
    wire_ids = store.wire_ids(first)
    store.collect(store.ended_of(first), [success_line(wire_ids[0])], [not_run_line(wire_ids[1])])
    second = store.claim()
    store.write_input(second)
    after = rebuilt(store)
    assert after.states() == {"batched": 1, "succeeded": 1}
    assert after.rows("SELECT batch_id, state FROM batches ORDER BY 1") == [
        {"batch_id": first.batch_id, "state": "collected"},
        {"batch_id": second.batch_id, "state": "submitting"},
    ]


def test_a_batch_whose_requests_all_went_on_is_over(store: Store) -> None:
    store.take_in(chat_lines(2))
    first = store.claim()
    store.write_input(first)
    store.collect(store.ended_of(first), [], [not_run_line(each) for each in store.wire_ids(first)])
    second = store.claim()
    store.write_input(second)
    rows = rebuilt(store).rows("SELECT state, fault_code, returned FROM batches ORDER BY batch_id")
    assert rows[0] == {"state": "failed", "fault_code": "superseded", "returned": 2}
    assert rows[1]["state"] == "submitting"


def test_a_failed_request_that_was_sent_again_is_in_its_new_batch(store: Store) -> None:
    store.take_in(chat_lines(1), name="job")
    first = store.claim()
    store.write_input(first)
    with store.ledger.transaction() as transaction:
        ending = Ending(code="refused", reason="whole file refused")
        fail_requests(transaction, first, ending, request_code="obm_batch_refused")
    write_own_results_of_requests(store.ledger)
    assert retry_job(store.ledger, "job", cancelled_too=False, actor="ann") == 1
    again = store.claim()
    store.write_input(again)

    after = rebuilt(store)

    assert after.states() == {"batched": 1}
    assert after.value("SELECT batch_id FROM requests") == again.batch_id


def test_a_request_that_ended_here_stays_ended(store: Store) -> None:
    store.take_in(chat_lines(2), name="job")
    cancel_job(store.ledger, "job", actor="ann")
    write_own_results_of_requests(store.ledger)
    after = rebuilt(store)
    assert after.states() == {"cancelled": 2}
    assert after.value("SELECT min(result_id) FROM results") == -1


def test_delivered_parts_stay_where_they_are_and_others_are_appended(store: Store) -> None:
    collected(store, name="one", source_id="s1")
    store.deliver()
    delivered = store.outbox("one/results.jsonl")
    settings = JobSettings(label="one")
    store.run("UPDATE jobs SET label = 'one'")
    store.take_in(chat_lines(2, prefix="more"), source_id="s2", settings=settings)
    batch = store.claim()
    store.write_input(batch)
    store.answer_all(store.ended_of(batch))

    after = rebuilt(store)

    assert after.rows("SELECT state, file FROM parts ORDER BY part_id") == [
        {"state": "delivered", "file": "results.jsonl"}, {"state": "pending", "file": None},
    ]  # fmt: skip
    assert after.deliver() == 1
    assert after.outbox("one/results.jsonl")[:3] == delivered
    assert sorted(after.outbox_ids("one/results.jsonl")) == [
        "more-0", "more-1", "one-0", "one-1", "one-2",
    ]  # fmt: skip


def test_half_a_part_that_a_crash_left_is_cut_off_and_written_whole(store: Store) -> None:
    collected(store, name="one", source_id="s1")
    store.deliver()
    path = store.directory.outbox / "one" / "results.jsonl"
    whole = path.read_bytes()
    for part in (store.directory.outbox / "one" / "parts").iterdir():
        part.unlink()
    path.write_bytes(whole[: len(whole) // 2])
    after = rebuilt(store)
    assert after.deliver() == 1
    assert path.read_bytes() == whole
    assert not path.with_name("results-2.jsonl").exists()


def test_what_is_pushed_is_due_again_as_nobody_knows_what_arrived(store: Store) -> None:
    collected(store, settings=JobSettings(delivery_config=WEBHOOK))
    store.run("UPDATE deliveries SET state = 'delivered'")
    after = rebuilt(store)
    assert after.rows("SELECT state, result_id, config FROM deliveries JOIN destinations "
                      "USING (destination_id) LIMIT 1")[0]["state"] == "pending"  # fmt: skip
    assert after.value("SELECT count(*) FROM deliveries") == 3
    assert after.value("SELECT count(*) FROM parts") == 0


def test_batches_of_an_earlier_version_find_their_lane_by_their_requests(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.claim()
    store.write_input(batch)
    path = manifest_path(store.directory, batch.batch_id)
    bare = pl.DataFrame(pq.read_table(path)).to_arrow()
    pq.write_table(bare, path)
    after = rebuilt(store)
    assert after.rows("SELECT state, model, account FROM batches JOIN lanes USING (lane_id)") == [
        {"state": "submitting", "model": batch.model, "account": ACCOUNT}
    ]


def test_a_restored_copy_learns_what_was_made_since(store: Store) -> None:
    store.take_in(chat_lines(2, prefix="old"), name="old", source_id="s1")
    copy = back_up_ledger(store.directory, keep=1)
    batch = store.claim()
    store.write_input(batch)
    store.answer_all(store.ended_of(batch))
    store.take_in(chat_lines(3, prefix="new"), name="new", source_id="s2")
    waiting = store.claim()
    store.write_input(waiting)
    store.directory.ledger.unlink()
    shutil.copyfile(copy, store.directory.ledger)
    ledger = Ledger.open(store.directory)

    found = catch_up_if_locked(ledger, account=ACCOUNT, cost_of=no_cost)

    after = Store(store.directory, ledger)
    assert found is not None
    assert (found.requests, found.results, found.batches) == (3, 2, 1)
    assert after.states() == {"batched": 3, "succeeded": 2}
    assert catch_up_if_locked(ledger, account=ACCOUNT, cost_of=no_cost) is None
    with ledger.transaction() as reader:
        lock = submission_lock(reader)
    assert lock is not None
    assert "restored from the copy of" in lock.reason


def test_a_restored_batch_that_may_have_been_sent_since_is_looked_for(store: Store) -> None:
    store.take_in(chat_lines(2))
    store.bring_to(store.claim(), BatchState.UPLOADED)
    copy = back_up_ledger(store.directory, keep=1)
    store.directory.ledger.unlink()
    shutil.copyfile(copy, store.directory.ledger)
    ledger = Ledger.open(store.directory)
    catch_up(ledger, account=ACCOUNT, cost_of=no_cost)
    after = Store(store.directory, ledger)
    assert after.rows("SELECT state, create_attempt FROM batches") == [
        {"state": "submitting", "create_attempt": 0}
    ]


@pytest.mark.parametrize("times", [2, 3])
def test_catching_up_again_changes_nothing(store: Store, times: int) -> None:
    collected(store, name="one", source_id="s1")
    store.deliver()
    store.take_in(chat_lines(2, prefix="two"), name="two", source_id="s2")
    store.write_input(store.claim())
    after = rebuilt(store)
    tables = ("requests", "batches", "results", "parts", "jobs", "sources", "segments")
    before = [after.rows(f"SELECT * EXCLUDE (post_ended_at) FROM {table} ORDER BY ALL")
              if table == "batches" else after.rows(f"SELECT * FROM {table} ORDER BY ALL")
              for table in tables]  # fmt: skip
    for _ in range(times):
        catch_up(after.ledger, account=ACCOUNT, cost_of=no_cost)
    assert before == [
        after.rows(f"SELECT * EXCLUDE (post_ended_at) FROM {table} ORDER BY ALL")
        if table == "batches" else after.rows(f"SELECT * FROM {table} ORDER BY ALL")
        for table in tables
    ]  # fmt: skip


def test_numbers_of_batches_on_the_disk_are_not_given_again(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.claim()
    store.write_input(batch)
    shutil.rmtree(store.directory.segments)
    store.directory.segments.mkdir()
    after = rebuilt(store)
    after.take_in(chat_lines(1), source_id="s9")
    after.run("DELETE FROM meta WHERE key = 'submission_lock'")
    assert after.claim().batch_id > batch.batch_id
    assert batch_folder(store.directory, batch.batch_id).exists()
