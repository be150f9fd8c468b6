from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from batching.lifecycle import WaitReason
from batching.planning import (
    BatchLimits,
    Claim,
    LaneView,
    TokenRates,
    Wait,
    decide,
    is_full,
)

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = BatchLimits(requests=100, bytes=10_000, embedding_inputs=50)
RATES = TokenRates(input_usd=Decimal("0.001"), output_usd=Decimal("0.002"))
LANE = LaneView(
    pending_requests=10,
    pending_bytes=1_000,
    pending_tokens=500,
    pending_embedding_inputs=0,
    first_tokens=50,
    first_output_tokens=10,
    due=True,
    live_tokens=0,
    unsent_batches=0,
    paused=False,
    account_trouble=None,
    backoff_until=None,
    token_limit=None,
    token_limit_certain=False,
    cautious_tokens=None,
    rates=RATES,
)


def decided(*, budget: str | None = None, **changes: Any) -> Claim | Wait | None:
    budget_usd = None if budget is None else Decimal(budget)
    return decide(replace(LANE, **changes), limits=LIMITS, budget_usd=budget_usd, at=AT)


def claimed(*, budget: str | None = None, **changes: Any) -> Claim:
    decision = decided(budget=budget, **changes)
    assert isinstance(decision, Claim), decision
    return decision


def waits(*, budget: str | None = None, **changes: Any) -> WaitReason:
    decision = decided(budget=budget, **changes)
    assert isinstance(decision, Wait), decision
    return decision.reason


def test_a_lane_without_pending_requests_has_nothing_to_decide() -> None:
    assert decided(pending_requests=0, account_trouble="key refused", paused=True) is None


def test_a_due_lane_claims_up_to_the_limits_of_a_batch() -> None:
    claim = claimed()
    assert (claim.requests, claim.bytes, claim.embedding_inputs) == (100, 10_000, 50)
    assert claim.tokens is None
    assert claim.spend_usd is None
    assert claim.reason == "due"


@pytest.mark.parametrize(
    ("field", "limit"),
    [("pending_requests", 100), ("pending_bytes", 10_000), ("pending_embedding_inputs", 50)],
)
def test_a_lane_that_is_not_due_goes_exactly_when_a_limit_is_reached(
    field: str, limit: int
) -> None:
    assert waits(due=False, **{field: limit - 1}) is WaitReason.FILLING
    assert claimed(due=False, **{field: limit}).reason == "full"


def test_a_lane_that_is_not_due_goes_exactly_when_its_token_limit_is_reached() -> None:
    assert waits(due=False, token_limit=501) is WaitReason.FILLING
    assert claimed(due=False, token_limit=500).reason == "full"


def test_without_a_known_token_limit_no_number_of_tokens_makes_a_lane_full() -> None:
    assert not is_full(replace(LANE, pending_tokens=10**12), LIMITS)


def test_reasons_to_hold_a_lane_come_in_the_order_of_who_can_end_them() -> None:
    everything: dict[str, Any] = {
        "account_trouble": "key refused",
        "paused": True,
        "backoff_until": AT + timedelta(seconds=1),
        "unsent_batches": 1,
        "due": False,
    }
    seen = []
    while everything:
        seen.append(waits(**everything))
        everything.pop(next(iter(everything)))
    assert seen == [
        WaitReason.ACCOUNT,
        WaitReason.PAUSED,
        WaitReason.BACKOFF,
        WaitReason.CAPACITY,
        WaitReason.FILLING,
    ]


def test_a_backoff_is_over_at_its_very_end() -> None:
    later = AT + timedelta(microseconds=1)
    wait = decided(backoff_until=later)
    assert isinstance(wait, Wait)
    assert wait.until == later
    assert claimed(backoff_until=AT)


def test_a_batch_may_fill_the_lane_exactly_up_to_its_token_limit() -> None:
    claim = claimed(token_limit=1_000, live_tokens=600)
    assert claim.tokens == 400


def test_a_first_request_that_is_one_token_too_large_for_the_room_waits() -> None:
    room_for_50 = {"token_limit": 1_000, "live_tokens": 950, "pending_tokens": 100}
    assert claimed(**room_for_50, first_tokens=50).tokens == 50
    assert waits(**room_for_50, first_tokens=51) is WaitReason.CAPACITY


def test_slivers_of_room_are_left_until_a_quarter_of_what_is_wanted_fits() -> None:
    wanted = {"token_limit": 1_000, "pending_tokens": 800, "first_tokens": 10}
    assert waits(**wanted, live_tokens=801) is WaitReason.CAPACITY
    assert claimed(**wanted, live_tokens=800).tokens == 200


def test_a_large_lane_asks_for_a_quarter_of_the_limit_at_most() -> None:
    huge = {"token_limit": 1_000, "pending_tokens": 10**9, "first_tokens": 10}
    assert waits(**huge, live_tokens=751) is WaitReason.CAPACITY
    assert claimed(**huge, live_tokens=750).tokens == 250


def test_the_worthwhile_share_counts_what_one_batch_may_hold_only() -> None:
    # 1,000 requests are pending, a batch holds 100 of them: about 100 tokens of 1,000.
    many = {"pending_requests": 1_000, "pending_tokens": 1_000, "first_tokens": 1}
    assert claimed(token_limit=1_000, live_tokens=975, **many).tokens == 25
    assert waits(token_limit=1_000, live_tokens=976, **many) is WaitReason.CAPACITY


def test_above_an_uncertain_limit_the_first_request_goes_alone_once_the_lane_is_empty() -> None:
    large = {"token_limit": 1_000, "first_tokens": 1_001, "pending_tokens": 2_000}
    alone = claimed(**large)
    assert alone.requests == 1
    assert alone.tokens is None
    assert waits(**large, live_tokens=1) is WaitReason.CAPACITY


def test_above_a_certain_limit_the_first_request_is_never_tried() -> None:
    large = {"token_limit": 1_000, "first_tokens": 1_001, "pending_tokens": 2_000}
    assert waits(**large, token_limit_certain=True) is WaitReason.CAPACITY


def test_a_request_exactly_at_the_limit_goes_with_the_whole_room() -> None:
    claim = claimed(token_limit=1_000, first_tokens=1_000, pending_tokens=1_000)
    assert (claim.requests, claim.tokens) == (100, 1_000)


def test_caution_bounds_the_batch_but_never_below_its_first_request() -> None:
    assert claimed(cautious_tokens=200).tokens == 200
    assert claimed(cautious_tokens=20).tokens == 50
    assert claimed(cautious_tokens=200, token_limit=1_000, live_tokens=870).tokens == 130


def test_the_budget_holds_a_lane_before_its_first_request_would_go_over() -> None:
    # 50 tokens in and 10 out cost 0.07 USD.
    assert claimed(budget="0.07").spend_usd == Decimal("0.07")
    wait = decided(budget="0.069999")
    assert isinstance(wait, Wait)
    assert wait.reason is WaitReason.BUDGET
    assert wait.until == datetime(2026, 3, 2, tzinfo=UTC)


def test_the_budget_looks_at_the_first_request_and_not_at_an_average_one() -> None:
    assert waits(budget="0.07", first_output_tokens=11) is WaitReason.BUDGET


def test_an_overdrawn_budget_holds_every_lane() -> None:
    assert waits(budget="-1", first_tokens=0, first_output_tokens=0) is WaitReason.BUDGET


def test_a_model_of_unknown_price_is_held_by_a_budget_only() -> None:
    wait = decided(budget="1000000", rates=None)
    assert isinstance(wait, Wait)
    assert wait.reason is WaitReason.BUDGET
    assert "OBM_PRICE_TABLE" in wait.detail
    assert claimed(rates=None).rates is None


def test_a_lane_that_fills_up_is_not_said_to_wait_for_budget() -> None:
    assert waits(budget="0", due=False) is WaitReason.FILLING
