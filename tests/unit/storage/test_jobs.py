import json

import pytest
from factories import Store, chat_lines, failure_line, not_run_line, policy, success_line

from batching.lifecycle import BatchState
from storage.claims import claim_next
from storage.jobs import cancel_job, find_job, flush, job_names, retry_job, set_job_paused
from storage.ledger import now
from storage.result_files import result_path
from storage.results import write_own_results_of_requests


def moves(store: Store) -> list[tuple[str, str]]:
    rows = store.rows(
        "SELECT target, actor FROM transitions WHERE entity = 'job' ORDER BY happened_at"
    )
    return [(row["target"], row["actor"]) for row in rows]


def filling(store: Store) -> bool:
    """Tell whether the pending requests still wait for their batch to fill."""
    return claim_next(store.ledger, policy(close_at_once=False)) is None


def test_cancelling_ends_what_is_pending_at_once_and_asks_for_the_rest(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    store.take_in(chat_lines(2, prefix="more"), source_id="s1", part=2)
    assert cancel_job(store.ledger, "job", actor="ann") == (2, 3)
    assert store.states() == {"batched": 3, "cancelled": 2}
    (row,) = store.rows(
        "SELECT state, cancel_requested, next_poll_at <= ? AS due FROM batches", now()
    )
    assert tuple(row.values()) == ("submitted", True, True)
    assert cancel_job(store.ledger, "job", actor="ann") == (0, 0)
    assert moves(store)[1] == ("cancel_requested", "ann")
    batch = store.bring_to(batch, BatchState.ENDED, status="cancelled")
    wires = store.wire_ids(batch)
    found = store.collect(
        batch,
        [success_line(wires[0])],
        [not_run_line(wires[1], code="batch_cancelled"), failure_line(wires[2], status=500)],
    )
    assert (found.succeeded, found.failed, found.cancelled, found.returned) == (1, 1, 1, 0)


def test_a_batch_that_other_jobs_share_goes_on_when_one_is_cancelled(store: Store) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    store.take_in(chat_lines(2), name="two", source_id="s2")
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    assert cancel_job(store.ledger, "one", actor="ann") == (0, 2)
    assert store.value("SELECT cancel_requested FROM batches") is False
    assert store.states() == {"batched": 4}
    assert cancel_job(store.ledger, "two", actor="ann") == (0, 2)
    assert store.value("SELECT cancel_requested FROM batches") is True
    assert store.states() == {"batched": 4}
    assert batch.requests == 4


def test_cancelling_leaves_what_has_ended_alone(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    store.answer_all(batch)
    assert cancel_job(store.ledger, "job", actor="ann") == (0, 0)
    assert store.states() == {"succeeded": 2}


def test_an_unknown_job_is_nothing_to_act_upon(store: Store) -> None:
    store.take_in(chat_lines(2))
    assert cancel_job(store.ledger, "other", actor="ann") == (0, 0)
    assert retry_job(store.ledger, "other", cancelled_too=True, actor="ann") == 0
    assert flush(store.ledger, "other", actor="ann") == 0
    assert not set_job_paused(store.ledger, "other", paused=True, actor="ann")
    assert store.states() == {"pending": 2}
    with store.ledger.transaction() as reader:
        assert find_job(reader, "other") is None
        assert find_job(reader, "job") == 1
        assert job_names(reader) == ["job"]


def test_pausing_twice_is_one_change(store: Store) -> None:
    store.take_in(chat_lines(2))
    assert set_job_paused(store.ledger, "job", paused=True, actor="ann")
    assert not set_job_paused(store.ledger, "job", paused=True, actor="ann")
    assert claim_next(store.ledger, policy()) is None
    assert set_job_paused(store.ledger, "job", paused=False, actor="bob")
    assert moves(store) == [("open", "pipeline"), ("paused", "ann"), ("open", "bob")]
    assert claim_next(store.ledger, policy()) == 1


@pytest.mark.parametrize("name", ["job", None])
def test_a_flush_lets_go_what_is_pending_now_and_not_what_comes_later(
    store: Store, name: str | None
) -> None:
    store.take_in(chat_lines(2))
    assert filling(store)
    assert flush(store.ledger, name, actor="ann") == 2
    assert not filling(store)
    store.take_in(chat_lines(2, prefix="later"), source_id="s1", part=2)
    assert filling(store)


def test_a_flush_of_one_job_leaves_the_lanes_of_others_alone(store: Store) -> None:
    store.take_in(chat_lines(2), name="one", source_id="s1")
    store.take_in(chat_lines(2, model="other"), name="two", source_id="s2")
    flush(store.ledger, "one", actor="ann")
    assert not filling(store)
    assert filling(store)


def failed_and_cancelled(store: Store) -> None:
    """Bring a job to its end with one success, one failure and one cancelled request."""
    store.take_in(chat_lines(3))
    batch = store.ended(status="cancelled")
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wires[0])], [failure_line(wires[1])])
    write_own_results_of_requests(store.ledger)
    store.deliver()
    assert store.states() == {"cancelled": 1, "failed": 1, "succeeded": 1}


@pytest.mark.parametrize(("cancelled_too", "again"), [(False, 1), (True, 2)])
def test_a_retry_sends_again_what_failed_keeps_the_earlier_result_and_delivers_anew(
    store: Store, *, cancelled_too: bool, again: int
) -> None:
    failed_and_cancelled(store)
    earlier = result_path(store.directory, 1).read_bytes()
    assert retry_job(store.ledger, "job", cancelled_too=cancelled_too, actor="ann") == again
    assert store.states()["pending"] == again
    (row, *_) = store.rows("SELECT attempts, returns, batch_id FROM requests WHERE row_index = 1")
    assert tuple(row.values()) == (0, 0, None)
    store.answer_all(store.ended())
    store.deliver()
    assert result_path(store.directory, 1).read_bytes() == earlier
    lines = [json.loads(line) for line in store.outbox("job/results.jsonl")]
    assert len(lines) == 3 + again
    assert [line["custom_id"] for line in lines[3:]] == ["id-1", "id-2"][:again]
    assert retry_job(store.ledger, "job", cancelled_too=cancelled_too, actor="ann") == 0


def test_a_retry_of_nothing_leaves_a_completed_job_completed(store: Store) -> None:
    store.take_in(chat_lines(2))
    store.answer_all(store.ended())
    store.deliver()
    store.run("UPDATE jobs SET completed_at = ?", now())
    assert retry_job(store.ledger, "job", cancelled_too=True, actor="ann") == 0
    assert store.value("SELECT completed_at FROM jobs") is not None


def test_a_retry_before_the_delivery_delivers_both_results(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.ended()
    store.collect(batch, None, [failure_line(store.wire_ids(batch)[0])])
    assert retry_job(store.ledger, "job", cancelled_too=False, actor="ann") == 1
    store.answer_all(store.ended())
    store.deliver()
    codes = [
        json.loads(line)["response"]["status_code"] for line in store.outbox("job/results.jsonl")
    ]
    assert codes == [400, 200]


def test_what_was_refused_as_a_duplicate_is_never_sent_again(store: Store) -> None:
    failed_and_cancelled(store)
    store.run("UPDATE requests SET error_code = 'obm_duplicate_custom_id' WHERE state = 'failed'")
    assert retry_job(store.ledger, "job", cancelled_too=False, actor="ann") == 0
    assert store.states()["failed"] == 1
