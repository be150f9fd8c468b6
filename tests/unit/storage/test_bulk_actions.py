import json
from typing import Any

import pytest
from factories import Store, chat_lines
from report_ledger import HOOK, TARGET, look

from batching.destinations import Reach
from batching.errors import BadInput
from batching.lifecycle import BatchState
from storage.action_outcomes import written_at_ns
from storage.bulk_batches import (
    cancel_batches,
    forget_batches,
    redeliver_failed_of_batches,
    restart_batches,
)
from storage.bulk_requests import cancel_requests, redeliver_requests, retry_requests
from storage.deliveries import due_targets
from storage.holding import hold_jobs, hold_lanes, hold_targets
from storage.ledger import now
from storage.redelivery import Selection, discard_dead_letters, redeliver_selection
from storage.request_actions import edit_destination
from storage.request_filter import RequestFilter
from storage.request_queries import requests_named

OTHER = {"type": "webhook", "webhook_url": "https://other.example/in"}


def moves(store: Store, target: str) -> list[tuple[str, str]]:
    rows = store.rows(
        "SELECT entity_id, actor FROM transitions WHERE target = ? ORDER BY entity_id", target
    )
    return [(row["entity_id"], row["actor"]) for row in rows]


def request_of(store: Store, custom_id: str) -> dict[str, Any]:
    (found,) = look(store, requests_named, custom_id)
    return dict(found)


def destination_of(store: Store, table: str, **place: int) -> str:
    found = store.value(
        f"SELECT config FROM {table} JOIN destinations USING (destination_id) "
        "WHERE segment = ? AND row_index = ?",
        place["segment"], place["row_index"],
    )  # fmt: skip
    return str(json.loads(found)["webhook_url"])


def test_batches_are_cancelled_together_and_the_others_say_why_not(known: Store) -> None:
    known.take_in(chat_lines(2, prefix="five"), name="five", source_id="s5")
    unsent = known.claim()
    done = cancel_batches(known.ledger, [1, 3, unsent.batch_id, 99], actor="anna")
    assert (done.changed, done.later, done.requests) == (2, 1, 2 + unsent.requests)
    assert done.skipped == {"there is no such batch": 1, "has run already (collected)": 1}
    states = known.rows("SELECT state, cancel_requested FROM batches ORDER BY batch_id")
    assert [(row["state"], row["cancel_requested"]) for row in states[2:]] == [
        ("submitted", True), ("cancelled", True),
    ]  # fmt: skip
    assert moves(known, "cancel_requested") == [("3", "anna"), (str(unsent.batch_id), "anna")]
    again = cancel_batches(known.ledger, [3], actor="anna")
    assert (again.changed, again.skipped) == (0, {"cancelled already": 1})


def test_a_view_taken_at_or_after_an_outcome_shows_it(known: Store) -> None:
    before = written_at_ns(known.directory)
    done = hold_jobs(known.ledger, ["one"], paused=True, actor="anna")
    assert before < done.committed_at_ns <= written_at_ns(known.directory)


def test_only_dead_letters_of_batches_are_brought_again(known: Store) -> None:
    done = redeliver_failed_of_batches(known.ledger, [1, 2], actor="anna")
    assert done.changed == 1
    assert done.skipped == {"is delivered already": 1, "is being delivered": 2}
    assert known.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 3


def test_files_are_deleted_of_batches_that_have_ended(known: Store) -> None:
    done = forget_batches(known.ledger, [1, 2, 3], actor="anna")
    assert (done.changed, done.skipped) == (2, {"needs its files (submitted)": 1})
    assert not (known.directory.batches / "000001").exists()
    again = forget_batches(known.ledger, [1], actor="anna")
    assert again.skipped == {"has no files (any more)": 1}


def test_failed_batches_are_restarted_and_others_are_not(known: Store) -> None:
    known.run("UPDATE batches SET state = ? WHERE batch_id = 1", BatchState.FAILED)
    known.run("UPDATE requests SET error_code = 'obm_batch_refused' WHERE state = 'failed'")
    done = restart_batches(known.ledger, [1, 2], actor="anna")
    assert (done.changed, done.requests) == (1, 1)
    assert done.skipped == {"has not failed (collected)": 1}
    assert known.states()["pending"] == 4


def test_requests_under_a_filter_are_cancelled_at_once_or_at_their_batch_s_end(
    known: Store,
) -> None:
    done = cancel_requests(
        known.ledger, RequestFilter(endpoint="/v1/chat/completions"), actor="anna"
    )
    assert (done.changed, done.later) == (5, 2)
    assert done.skipped == {"succeeded already": 8, "failed already": 1}
    assert known.states() == {"batched": 2, "cancelled": 3, "failed": 1, "succeeded": 8}
    assert known.value("SELECT cancel_requested FROM batches WHERE batch_id = 3") is True
    again = cancel_requests(known.ledger, RequestFilter(job="three"), actor="anna")
    assert (again.changed, again.skipped) == (0, {"cancel requested already": 2})


def test_a_filter_by_state_still_means_what_it_meant_when_requests_are_cancelled(
    known: Store,
) -> None:
    done = cancel_requests(known.ledger, RequestFilter(state="pending"), actor="anna")
    assert (done.changed, done.later) == (3, 0)
    assert known.value("SELECT reason FROM transitions WHERE actor = 'anna'") == (
        "3 requests; state pending"
    )


def test_failed_requests_run_again_and_the_others_say_why_not(known: Store) -> None:
    known.run("UPDATE jobs SET completed_at = now()")
    done = retry_requests(known.ledger, RequestFilter(), actor="anna")
    assert done.changed == 1
    assert done.skipped == {"succeeded": 8, "not at its end yet": 5}
    row = known.rows("SELECT state, result_id, attempts FROM requests WHERE custom_id = 'one-0'")
    assert row == [{"state": "pending", "result_id": None, "attempts": 0}]
    assert known.value("SELECT completed_at FROM jobs WHERE name = 'one'") is None
    assert known.value("SELECT completed_at FROM jobs WHERE name = 'two'") is not None


def test_a_selection_of_requests_is_brought_again(known: Store) -> None:
    two = [(2, 0), (2, 1), (1, 0)]
    wanted = RequestFilter(places=two)
    done = redeliver_requests(known.ledger, wanted, failed_only=True, actor="anna")
    assert done.changed == 1
    assert done.skipped == {"is delivered already": 1, "has no result that is pushed anywhere": 1}
    done = redeliver_requests(known.ledger, wanted, failed_only=False, actor="anna")
    assert (done.changed, done.skipped["is being delivered"]) == (1, 1)


def test_dead_letters_of_one_cause_are_discarded_and_stay_so(known: Store) -> None:
    group = Selection(target=TARGET, outcome="timeout", problem="no answer")
    assert (
        discard_dead_letters(known.ledger, Selection(problem="another"), actor="anna").changed == 0
    )
    assert discard_dead_letters(known.ledger, group, actor="anna").changed == 1
    state = known.rows("SELECT state, problem FROM deliveries WHERE delivery_id = 2")
    assert state == [{"state": "cancelled", "problem": "discarded by an operator"}]
    done = redeliver_selection(
        known.ledger, Selection(delivery_ids=[2]), failed_only=False, actor="anna"
    )
    assert (done.changed, done.skipped) == (0, {"was given up": 1})


def test_a_target_that_is_held_back_gets_nothing_until_it_is_let_go(known: Store) -> None:
    with known.ledger.transaction() as reader:
        assert [due.target for due in due_targets(reader, at=now())] == [TARGET]
    done = hold_targets(known.ledger, [TARGET, "webhook:x"], paused=True, actor="anna")
    assert (done.changed, done.skipped) == (1, {"there is none of that name": 1})
    with known.ledger.transaction() as reader:
        assert due_targets(reader, at=now()) == []
    assert known.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 2
    assert hold_targets(known.ledger, None, paused=False, actor="anna").changed == 1
    with known.ledger.transaction() as reader:
        assert [due.due for due in due_targets(reader, at=now())] == [2]
    assert moves(known, "paused") == [(TARGET, "anna")]


def test_all_lanes_are_held_back_and_let_go(known: Store) -> None:
    assert hold_lanes(known.ledger, [1], paused=True, actor="anna").changed == 1
    done = hold_lanes(known.ledger, None, paused=True, actor="anna")
    assert (done.changed, done.skipped) == (1, {"was held back already": 1})
    assert hold_lanes(known.ledger, None, paused=False, actor="anna").changed == 2
    assert known.value("SELECT count(*) FROM lanes WHERE paused") == 0


def test_a_waiting_or_undelivered_request_gets_another_destination(known: Store) -> None:
    for custom_id in ("four-0", "two-1", "two-2"):
        request = request_of(known, custom_id)
        done = edit_destination(known.ledger, request, OTHER, reach=Reach(), actor="anna")
        assert done.changed == 1
        place = {name: request[name] for name in ("segment", "row_index")}
        assert destination_of(known, "requests", **place) == OTHER["webhook_url"]
        if custom_id != "four-0":
            assert destination_of(known, "deliveries", **place) == OTHER["webhook_url"]
    assert len(moves(known, "destination_changed")) == 3


@pytest.mark.parametrize(
    ("custom_id", "config", "reason"),
    [
        ("two-0", OTHER, "its delivery is delivered"),
        ("two-1", json.loads(HOOK), "it goes there already"),
        ("one-1", OTHER, "its result is recorded already"),
        ("two-1", {"type": "file"}, "its result is recorded already"),
    ],
)
def test_a_destination_stays_where_the_result_cannot_move(
    known: Store, custom_id: str, config: object, reason: str
) -> None:
    done = edit_destination(
        known.ledger, request_of(known, custom_id), config, reach=Reach(), actor="anna"
    )
    assert done.changed == 0
    assert next(iter(done.skipped)).startswith(reason)


def test_a_destination_that_cannot_be_reached_is_refused(known: Store) -> None:
    queue = {"type": "rabbitmq", "rabbitmq_queue": "q"}
    with pytest.raises(BadInput, match="RABBITMQ_URL is not set"):
        edit_destination(
            known.ledger, request_of(known, "four-0"), queue, reach=Reach(), actor="anna"
        )
