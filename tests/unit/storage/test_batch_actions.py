from typing import Any

import pytest
from factories import Store, chat_lines, embedding_line, failure_line, success_line

from batching.lifecycle import FINAL_BATCH_STATES, WISHES_ALLOWED, BatchState, BatchWish
from storage.batch_actions import (
    BatchAction,
    cancel_batch,
    flush_lane_of,
    forget_batch,
    restart_batch,
)
from storage.batch_files import batch_folder
from storage.batch_queries import batch_exists, batch_in_full, batches_page

NOBODY = 4711


def moves(store: Store, batch_id: int) -> list[tuple[str, str]]:
    """Return what the trail says that somebody did to a batch."""
    rows = store.rows(
        "SELECT target, actor FROM transitions WHERE entity = 'batch' AND entity_id = ? "
        "AND actor = 'me' ORDER BY happened_at",
        str(batch_id),
    )
    return [(row["target"], row["actor"]) for row in rows]


def refused(action: BatchAction | None) -> str:
    assert action is not None
    assert action.refusal is not None
    return action.refusal


@pytest.mark.parametrize("act", [cancel_batch, flush_lane_of, restart_batch, forget_batch])
def test_there_is_nothing_to_do_to_a_batch_that_is_not_there(store: Store, act: Any) -> None:
    assert act(store.ledger, NOBODY, actor="me") is None
    assert moves(store, NOBODY) == []


def test_a_batch_that_was_not_sent_is_cancelled_at_once_and_only_once(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.claim()
    first, second = (cancel_batch(store.ledger, batch.batch_id, actor="me") for _ in range(2))
    assert first == BatchAction(state=BatchState.CANCELLED, requests=2)
    assert second == BatchAction(state=BatchState.CANCELLED)
    assert store.states() == {"cancelled": 2}


def test_a_batch_at_the_provider_keeps_the_wish_and_is_asked_for_at_once(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    first, second = (cancel_batch(store.ledger, batch.batch_id, actor="me") for _ in range(2))
    assert first == BatchAction(state=BatchState.SUBMITTED, requests=2)
    assert second == BatchAction(state=BatchState.SUBMITTED)
    due = store.value("SELECT next_poll_at <= now()::TIMESTAMP FROM batches WHERE cancel_requested")
    assert due is True
    assert moves(store, batch.batch_id) == [("cancel_requested", "me")]


def test_why_something_was_done_stands_in_the_audit_trail(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    number = batch.batch_id
    cancel_batch(store.ledger, number, actor="me", reason="the wrong prompt")
    store.run("UPDATE batches SET state = 'failed', cancel_requested = false")
    store.run("UPDATE requests SET state = 'failed', error_code = 'obm_batch_lost', result_id = 1")
    store.write_input(batch)
    restart_batch(store.ledger, number, actor="me", reason="it was right after all")
    forget_batch(store.ledger, number, actor="me", reason="to have room")
    told = store.rows("SELECT target, reason FROM transitions WHERE actor = 'me'")
    assert [(row["target"], row["reason"]) for row in told] == [
        ("cancel_requested", "the wrong prompt"),
        ("restarted", "1 requests pending again: it was right after all"),
        ("files_deleted", "to have room"),
    ]


def test_what_an_operator_may_want_of_a_batch_leads_from_a_state_to_one_that_there_is() -> None:
    assert set(WISHES_ALLOWED) == set(BatchWish)
    assert WISHES_ALLOWED[BatchWish.DELETE] == FINAL_BATCH_STATES
    waiting = WISHES_ALLOWED[BatchWish.CANCEL]
    assert not waiting & FINAL_BATCH_STATES


def test_a_batch_that_has_run_cannot_be_cancelled_any_more(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.ended()
    assert "has run" in refused(cancel_batch(store.ledger, batch.batch_id, actor="me"))
    store.answer_all(batch)
    assert "has run" in refused(cancel_batch(store.ledger, batch.batch_id, actor="me"))
    assert store.states() == {"succeeded": 1}


def test_only_what_waits_in_the_same_lane_is_sent(store: Store) -> None:
    store.take_in(chat_lines(1), name="one", source_id="s1")
    batch = store.claim()
    assert "nothing waits" in refused(flush_lane_of(store.ledger, batch.batch_id, actor="me"))
    store.take_in(chat_lines(2), name="two", source_id="s2")
    store.take_in([embedding_line("e-0")], name="other", source_id="s3")
    done = flush_lane_of(store.ledger, batch.batch_id, actor="me")
    assert done == BatchAction(state=BatchState.PLANNED, requests=2)
    flushed = store.rows("SELECT name FROM jobs WHERE flush_requested_at IS NOT NULL")
    assert flushed == [{"name": "two"}]


def test_only_requests_that_failed_with_their_batch_are_sent_again(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.ended()
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wires[0])], [failure_line(wires[1]), failure_line(wires[2])])
    store.run("UPDATE jobs SET completed_at = now()::TIMESTAMP")
    assert "has not failed" in refused(restart_batch(store.ledger, batch.batch_id, actor="me"))
    store.run("UPDATE batches SET state = 'failed'")
    assert "failed with it" in refused(restart_batch(store.ledger, batch.batch_id, actor="me"))
    store.run("UPDATE requests SET error_code = 'obm_batch_lost' WHERE custom_id = 'id-2'")
    done = restart_batch(store.ledger, batch.batch_id, actor="me")
    assert done == BatchAction(state=BatchState.FAILED, requests=1)
    assert store.states() == {"failed": 1, "pending": 1, "succeeded": 1}
    assert store.value("SELECT completed_at FROM jobs") is None
    assert store.value("SELECT result_id FROM requests WHERE state = 'pending'") is None
    assert "failed with it" in refused(restart_batch(store.ledger, batch.batch_id, actor="me"))
    assert moves(store, batch.batch_id) == [("restarted", "me")]


def test_a_request_whose_failure_is_not_told_yet_is_not_sent_again(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.ended()
    store.run("UPDATE batches SET state = 'failed'")
    store.run("UPDATE requests SET state = 'failed', error_code = 'obm_batch_lost'")
    assert "has its result" in refused(restart_batch(store.ledger, batch.batch_id, actor="me"))


def test_files_of_a_batch_are_deleted_when_it_has_ended_and_its_results_stay(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.claim()
    store.write_input(batch)
    assert "needs its files" in refused(forget_batch(store.ledger, batch.batch_id, actor="me"))
    store.answer_all(store.ended_of(batch))
    for _ in range(2):
        done = forget_batch(store.ledger, batch.batch_id, actor="me")
        assert done == BatchAction(state=BatchState.COLLECTED)
    assert not batch_folder(store.directory, batch.batch_id).exists()
    assert moves(store, batch.batch_id) == [("files_deleted", "me")]
    assert store.deliver() == 1


def batches(store: Store, **changes: Any) -> list[int]:
    wanted: dict[str, Any] = {"state": None, "model": None, "before": None, "most": 10} | changes
    with store.ledger.transaction() as reader:
        return [row["batch_id"] for row in batches_page(reader, **wanted)]


def test_batches_are_found_by_state_model_and_place(store: Store) -> None:
    store.take_in(chat_lines(1), name="one", source_id="s1")
    first = store.ended().batch_id
    store.take_in([embedding_line("e-0")], name="two", source_id="s2")
    second = store.claim().batch_id
    assert batches(store) == [second, first]
    assert batches(store, most=1) == [second]
    assert batches(store, before=second) == [first]
    assert batches(store, state="planned") == [second]
    assert batches(store, model="gpt-4o-mini") == [first]
    assert batches(store, model="small", state="ended") == []


def test_a_batch_is_told_with_its_story(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.ended()
    store.answer_all(batch)
    with store.ledger.transaction() as reader:
        found = batch_in_full(reader, batch.batch_id)
        assert batch_in_full(reader, NOBODY) is None
        known = [batch_exists(reader, number) for number in (batch.batch_id, NOBODY)]
    assert known == [True, False]
    assert found is not None
    assert (found["requests"], found["succeeded"], found["state"]) == (1, 1, "collected")
    targets = [move["target"] for move in found["transitions"]]
    assert (targets[0], targets[-1]) == ("planned", "collected")
