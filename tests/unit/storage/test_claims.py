from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from factories import (
    Store,
    chat_line,
    chat_lines,
    embedding_line,
    policy,
    rates,
    read_lines,
    token_limit,
)

from batching.jobs import JobSettings
from batching.lifecycle import BatchState, WaitReason
from batching.planning import BatchLimits
from storage.claims import claim_next
from storage.jobs import set_job_paused
from storage.ledger import now


def limits(**changes: int) -> BatchLimits:
    known = {"requests": 50_000, "bytes": 190_000_000, "embedding_inputs": 50_000}
    return BatchLimits(**known | changes)


def sizes(store: Store, **changes: Any) -> list[int]:
    """Claim until nothing goes any more; return how many requests went each time."""
    found = []
    while (batch_id := claim_next(store.ledger, policy(**changes))) is not None:
        found.append(store.value("SELECT count(*) FROM requests WHERE batch_id = ?", batch_id))
        assert store.value("SELECT requests FROM batches WHERE batch_id = ?", batch_id) == found[-1]
    return found


def first_claim(store: Store, **changes: Any) -> int:
    """Return how many requests the first claim takes."""
    return store.claim(**changes).requests


def test_nothing_pending_is_nothing_to_claim(store: Store) -> None:
    assert claim_next(store.ledger, policy()) is None
    store.take_in([])
    assert claim_next(store.ledger, policy()) is None


def test_every_request_is_claimed_exactly_once_and_in_order(store: Store) -> None:
    store.take_in(chat_lines(25), rows_a_segment=7)
    assert sizes(store, limits=limits(requests=10)) == [10, 10, 5]
    rows = store.rows("SELECT batch_id, state FROM requests ORDER BY segment, row_index")
    assert [row["batch_id"] for row in rows] == [1] * 10 + [2] * 10 + [3] * 5
    assert {row["state"] for row in rows} == {"batched"}
    assert claim_next(store.ledger, policy()) is None


def test_a_claim_that_is_taken_back_leaves_everything_pending(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take_in(chat_lines(5))
    monkeypatch.setattr("storage.claims.record_wait", None)
    with pytest.raises(TypeError):
        claim_next(store.ledger, policy())
    monkeypatch.undo()
    assert store.states() == {"pending": 5}
    assert store.value("SELECT count(*) FROM batches") == 0
    assert sizes(store) == [5]


def test_a_batch_is_filled_exactly_up_to_its_bytes(store: Store) -> None:
    lines = chat_lines(4)
    store.take_in(lines)
    three = sum(request.wire_bytes for request in read_lines(lines)[:3])
    assert sizes(store, limits=limits(bytes=three)) == [3, 1]


def test_one_byte_less_holds_one_request_less(store: Store) -> None:
    lines = chat_lines(4)
    store.take_in(lines)
    three = sum(request.wire_bytes for request in read_lines(lines)[:3])
    assert sizes(store, limits=limits(bytes=three - 1)) == [2, 2]


@pytest.mark.parametrize(("most", "found"), [(6, [3, 1]), (5, [2, 2])])
def test_a_batch_is_filled_exactly_up_to_its_embedding_inputs(
    store: Store, most: int, found: list[int]
) -> None:
    store.take_in([embedding_line(f"e{number}", inputs=2) for number in range(4)])
    assert sizes(store, limits=limits(embedding_inputs=most)) == found


@pytest.mark.parametrize(("missing", "found"), [(0, 3), (1, 2)])
def test_a_batch_is_filled_exactly_up_to_the_tokens_of_its_lane(
    store: Store, missing: int, found: int
) -> None:
    lines = chat_lines(4)
    store.take_in(lines)
    three = sum(request.tokens for request in read_lines(lines)[:3])
    assert first_claim(store, token_limit_of=token_limit(three - missing)) == found


def test_what_is_claimed_uses_up_the_lanes_tokens_until_its_batch_has_ended(store: Store) -> None:
    lines = chat_lines(4)
    store.take_in(lines)
    two = sum(request.tokens for request in read_lines(lines)[:2])
    rule = token_limit(two)
    first = store.claim(token_limit_of=rule)
    assert claim_next(store.ledger, policy(token_limit_of=rule)) is None
    (lane,) = store.rows("SELECT wait_reason, waiting_since FROM lanes")
    assert lane["wait_reason"] == "capacity"
    claim_next(store.ledger, policy(token_limit_of=rule))
    assert store.value("SELECT waiting_since FROM lanes") == lane["waiting_since"]
    store.bring_to(first, BatchState.ENDED)
    assert first_claim(store, token_limit_of=rule) == 2
    assert store.value("SELECT wait_reason FROM lanes") is None


def test_a_request_above_a_certain_limit_fails_and_the_others_go(store: Store) -> None:
    store.take_in([chat_line("small"), chat_line("large", text="word " * 500), chat_line("tail")])
    batch = store.claim(token_limit_of=token_limit(200))
    assert batch.requests == 2
    (failed,) = store.rows("SELECT custom_id, error_code FROM requests WHERE state = 'failed'")
    assert failed == {"custom_id": "large", "error_code": "obm_request_exceeds_token_limit"}


def test_a_request_above_an_uncertain_limit_goes_alone(store: Store) -> None:
    store.take_in([chat_line("large", text="word " * 500), chat_line("a"), chat_line("b")])
    rule = token_limit(200, certain=False)
    alone = store.claim(token_limit_of=rule)
    assert alone.requests == 1
    assert claim_next(store.ledger, policy(token_limit_of=rule)) is None
    store.bring_to(alone, BatchState.ENDED)
    assert first_claim(store, token_limit_of=rule) == 2


def test_a_first_request_that_no_batch_has_room_for_does_not_block_the_others(
    store: Store,
) -> None:
    store.take_in([embedding_line("large", inputs=9), *(embedding_line(f"e{n}") for n in range(3))])
    assert sizes(store, limits=limits(embedding_inputs=5)) == [1, 3]


def test_a_line_above_a_lowered_size_limit_does_not_block_the_others(store: Store) -> None:
    store.take_in([chat_line("large", text="word " * 500), *chat_lines(3)])
    assert sizes(store, limits=limits(bytes=1_000)) == [1, 3]


def test_requests_of_paused_jobs_are_left_out(store: Store) -> None:
    store.take_in(chat_lines(3), name="one", source_id="s1")
    store.take_in(chat_lines(2), name="two", source_id="s2")
    assert set_job_paused(store.ledger, "one", paused=True, actor="test")
    assert sizes(store) == [2]
    assert set_job_paused(store.ledger, "one", paused=False, actor="test")
    assert sizes(store) == [3]


def test_the_lane_that_has_waited_longest_goes_first(store: Store) -> None:
    old, young = now() - timedelta(hours=2), now() - timedelta(hours=1)
    store.take_in(chat_lines(2, model="b"), name="1", source_id="s1", accepted_at=young)
    store.take_in(chat_lines(3, model="a"), name="2", source_id="s2", accepted_at=old)
    assert sizes(store) == [3, 2]


def test_a_large_request_is_not_starved_by_smaller_ones_behind_it(store: Store) -> None:
    large = chat_line("large", text="word " * 100)
    small = chat_lines(6)
    store.take_in([*small[:3], large, *small[3:]])
    tokens = [request.tokens for request in read_lines([*small[:3], large])]
    rule = token_limit(sum(tokens[:3]) + tokens[3] - 1)
    first = store.claim(token_limit_of=rule)
    assert first.requests == 3
    # There is room for the small ones behind it, but the large one is next.
    assert claim_next(store.ledger, policy(token_limit_of=rule)) is None
    store.bring_to(first, BatchState.ENDED)
    assert sizes(store, token_limit_of=rule) == [3]
    custom_ids = store.rows("SELECT custom_id FROM requests WHERE batch_id = 2 ORDER BY ALL")
    assert "large" in [row["custom_id"] for row in custom_ids]


def test_a_lane_that_waits_does_not_hold_up_another(store: Store) -> None:
    old = now() - timedelta(hours=2)
    store.take_in(chat_lines(2, model="slow"), name="1", source_id="s1", accepted_at=old)
    store.take_in(chat_lines(3, model="quick"), name="2", source_id="s2")
    store.run("UPDATE lanes SET paused = true WHERE model = 'slow'")
    assert sizes(store) == [3]
    assert store.value("SELECT wait_reason FROM lanes WHERE model = 'slow'") == WaitReason.PAUSED


def test_requests_wait_to_fill_a_batch_until_they_are_due(store: Store) -> None:
    store.take_in(chat_lines(3))
    assert sizes(store, close_at_once=False) == []
    assert store.value("SELECT wait_reason FROM lanes") == "filling"
    assert sizes(store, close_at_once=False, max_wait_seconds=0.0) == [3]


def test_a_jobs_own_patience_counts_for_its_requests(store: Store) -> None:
    hurried = JobSettings(max_wait_seconds=0.0)
    store.take_in(chat_lines(3), settings=hurried)
    assert sizes(store, close_at_once=False) == [3]


def test_a_job_may_ask_for_any_patience(store: Store) -> None:
    store.take_in(chat_lines(3), settings=JobSettings(max_wait_seconds=1e300), source_id="s1")
    store.take_in(chat_lines(1), name="b", settings=JobSettings(max_wait_seconds=0), source_id="s2")
    assert sizes(store, close_at_once=False) == [4]


def test_the_budget_is_kept_exactly(store: Store) -> None:
    lines = chat_lines(4)
    store.take_in(lines)
    requests = read_lines(lines)
    price = rates("0.0001", "0.0003")
    costs = [
        request.tokens * Decimal("0.0001") + request.output_tokens * Decimal("0.0003")
        for request in requests
    ]
    money: dict[str, Any] = {"rates_of": price, "max_spend_per_day_usd": sum(costs[:3])}
    assert sizes(store, **money) in ([3], [2, 1])  # sums of floats may miss by one request
    assert store.value("SELECT wait_reason FROM lanes") == "budget"
    expected = store.value("SELECT sum(expected_cost_usd) FROM batches")
    assert expected == sum(costs[:3])


def test_a_costly_first_request_waits_for_budget_instead_of_being_looked_at_for_ever(
    store: Store,
) -> None:
    store.take_in([chat_line("dear", max_tokens=10_000), chat_line("cheap", max_tokens=1)])
    money: dict[str, Any] = {"rates_of": rates("0", "0.001"), "max_spend_per_day_usd": Decimal(9)}
    assert claim_next(store.ledger, policy(**money)) is None
    assert store.value("SELECT wait_reason FROM lanes") == "budget"


def test_a_claim_says_why_its_batch_was_closed(store: Store) -> None:
    store.take_in(chat_lines(3))
    store.claim(limits=limits(requests=2))
    store.claim()
    closed = store.rows("SELECT closed_because FROM batches ORDER BY batch_id")
    assert [row["closed_because"] for row in closed] == ["full", "due"]
