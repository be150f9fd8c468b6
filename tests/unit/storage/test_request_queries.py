import json
from datetime import UTC, datetime
from typing import Any

import pytest
from factories import Store, chat_lines, embedding_line, failure_line, success_line

from batching.lifecycle import RequestState
from storage.request_actions import cancel_request
from storage.request_filter import RequestFilter
from storage.request_queries import (
    attempts_of,
    requests_named,
    requests_page,
    result_of,
)
from storage.result_files import result_path

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


def named(store: Store, custom_id: str, job: str | None = None) -> list[dict[str, Any]]:
    with store.ledger.transaction() as reader:
        return requests_named(reader, custom_id, job=job)


def page(
    store: Store, *, before: tuple[int, int] | None = None, most: int = 100, **wanted: Any
) -> list[str]:
    with store.ledger.transaction() as reader:
        rows = requests_page(reader, RequestFilter(**wanted), before=before, most=most)
    return [row["custom_id"] for row in rows]


def mixed(store: Store) -> int:
    """A job with a success, a failure and a pushed result; another that waits. Return a batch."""
    store.take_in(chat_lines(3), name="one", accepted_at=EARLY)
    store.run(
        """INSERT INTO destinations VALUES (1, '{"type":"webhook"}', 'webhook', 'webhook:x', """
        "now()::TIMESTAMP, NULL, NULL)"
    )
    store.run("UPDATE requests SET destination_id = 1 WHERE custom_id = 'id-2'")
    batch = store.ended()
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wires[0]), success_line(wires[2])], [failure_line(wires[1])])
    store.deliver()
    store.take_in([embedding_line("e-0")], name="two", source_id="s2", accepted_at=LATE)
    return batch.batch_id


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, ["e-0", "id-2", "id-1", "id-0"]),
        ({"state": "failed"}, ["id-1"]),
        ({"job": "two"}, ["e-0"]),
        ({"job": "nobody"}, []),
        ({"model": "small"}, ["e-0"]),
        ({"endpoint": "/v1/embeddings"}, ["e-0"]),
        ({"destination": "webhook"}, ["id-2"]),
        ({"destination": "file", "job": "one"}, ["id-1", "id-0"]),
        ({"delivery_state": "delivered"}, ["id-1", "id-0"]),
        ({"delivery_state": "pending"}, ["id-2"]),
        ({"error_code": "invalid_value"}, ["id-1"]),
        ({"custom_id_prefix": "id-"}, ["id-2", "id-1", "id-0"]),
        ({"since": LATE}, ["e-0"]),
        ({"until": LATE}, ["id-2", "id-1", "id-0"]),
        ({"since": EARLY, "until": LATE, "state": "succeeded"}, ["id-2", "id-0"]),
    ],
)
def test_each_filter_leaves_what_it_names(
    store: Store, wanted: dict[str, Any], ids: list[str]
) -> None:
    batch_id = mixed(store)
    assert page(store, **wanted) == ids
    assert page(store, batch_id=batch_id, **wanted) == [each for each in ids if each != "e-0"]


def test_pages_go_on_behind_a_place_across_segments(store: Store) -> None:
    store.take_in(chat_lines(5), rows_a_segment=2)
    seen: list[str] = []
    before = None
    while rows := page_rows(store, before):
        seen += [row["custom_id"] for row in rows]
        before = (rows[-1]["segment"], rows[-1]["row_index"])
    assert seen == ["id-4", "id-3", "id-2", "id-1", "id-0"]


def page_rows(store: Store, before: tuple[int, int] | None) -> list[dict[str, Any]]:
    with store.ledger.transaction() as reader:
        return requests_page(reader, RequestFilter(), before=before, most=2)


def test_of_one_id_each_job_has_its_own(store: Store) -> None:
    for job in ("a", "b"):
        store.take_in(chat_lines(1), name=job, source_id=job)
    assert [row["job"] for row in named(store, "id-0")] == ["a", "b"]
    assert [row["job"] for row in named(store, "id-0", "b")] == ["b"]
    assert named(store, "id-0", "c") == []
    assert named(store, "nobody") == []


@pytest.mark.parametrize("refused", [0, 1])
def test_a_refused_repeat_never_stands_for_the_request_itself(store: Store, refused: int) -> None:
    store.take_in(chat_lines(2))
    store.run("UPDATE requests SET custom_id = 'same'")
    store.run(
        "UPDATE requests SET state = 'failed', error_code = 'obm_duplicate_custom_id' "
        "WHERE row_index = ?",
        refused,
    )
    (found,) = named(store, "same")
    assert (found["row_index"], found["state"]) == (1 - refused, "pending")


def test_a_waiting_request_says_what_for(store: Store) -> None:
    store.take_in(chat_lines(1))
    store.run("UPDATE lanes SET wait_reason = 'budget'")
    assert named(store, "id-0")[0]["wait_reason"] == "budget"
    store.run("UPDATE jobs SET paused = true")
    assert named(store, "id-0")[0]["wait_reason"] == "paused"


def test_the_result_is_the_line_as_it_is_delivered(store: Store) -> None:
    mixed(store)
    good, bad, waiting = (named(store, each)[0] for each in ("id-0", "id-1", "e-0"))
    line, problem = result_of(store.directory, good)
    assert (json.loads(line or b"{}")["custom_id"], problem) == ("id-0", None)
    assert result_of(store.directory, bad)[1] == "refused with 400"
    assert result_of(store.directory, waiting) == (None, None)
    result_path(store.directory, good["result_id"]).unlink()
    assert result_of(store.directory, good) == (None, None)


def test_attempts_are_told_newest_first(store: Store) -> None:
    for number in (1, 2):
        store.run(
            "INSERT INTO attempts VALUES (7, ?, now()::TIMESTAMP, 'timeout', NULL, 30000, 'x')",
            number,
        )
    with store.ledger.transaction() as reader:
        assert [row["number"] for row in attempts_of(reader, 7)] == [2, 1]
        assert attempts_of(reader, None) == []


def test_a_pending_request_is_cancelled_once(store: Store) -> None:
    store.take_in(chat_lines(2))
    request = named(store, "id-0")[0]
    for _ in range(2):
        state = cancel_request(store.ledger, request, actor="me")
        assert state is RequestState.CANCELLED
    assert store.states() == {"cancelled": 1, "pending": 1}
    moves = store.rows("SELECT actor FROM transitions WHERE entity = 'request'")
    assert moves == [{"actor": "me"}]


def test_a_request_in_an_unsent_batch_is_taken_out_of_it(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.claim()
    state = cancel_request(store.ledger, named(store, "id-0")[0], actor="me")
    assert state is RequestState.CANCELLED
    assert store.states() == {"cancelled": 1, "pending": 1}
    assert store.claim().requests == 1
    state = store.value("SELECT state FROM batches WHERE batch_id = ?", batch.batch_id)
    assert state == "failed"


def test_a_request_at_the_provider_keeps_a_wish_and_its_paid_result(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    request = named(store, "id-0")[0]
    assert cancel_request(store.ledger, request, actor="me") is RequestState.BATCHED
    assert named(store, "id-0")[0]["cancel_requested"] is True
    store.answer_all(batch)
    assert cancel_request(store.ledger, request, actor="me") is RequestState.SUCCEEDED
    assert store.states() == {"succeeded": 2}


def test_a_forgotten_request_cannot_be_cancelled(store: Store) -> None:
    store.take_in(chat_lines(1))
    request = named(store, "id-0")[0]
    store.run("DELETE FROM requests")
    assert cancel_request(store.ledger, request, actor="me") is None
