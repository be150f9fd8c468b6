"""What becomes of a delivery after an attempt."""

from datetime import UTC, datetime

import pytest

from batching.deliveries import Outcome
from batching.delivery_retry import PAUSES_SECONDS, Decision, decide
from batching.lifecycle import DeliveryState

AT = datetime(2026, 1, 1, tzinfo=UTC)
FAILED = Outcome.HTTP_STATUS_NOT_2XX


def pause_of(decision: Decision) -> float:
    assert decision.state is DeliveryState.PENDING
    assert decision.next_attempt_at is not None
    return (decision.next_attempt_at - AT).total_seconds()


def test_success_delivers() -> None:
    assert decide(Outcome.SUCCESS, attempts=1, at=AT, chance=0.5).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("attempts", range(1, 10))
def test_each_failure_has_its_own_pause_up_to_a_fifth_off(attempts: int) -> None:
    planned = PAUSES_SECONDS[attempts - 1]
    found = [pause_of(decide(FAILED, attempts=attempts, at=AT, chance=c)) for c in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([0.8 * planned, planned, 1.2 * planned])


def test_the_tenth_failure_is_the_last() -> None:
    assert decide(FAILED, attempts=10, at=AT, chance=0.5).state is DeliveryState.EXHAUSTED


@pytest.mark.parametrize(("asked", "pause"), [(1.0, 5.0), (100.0, 100.0), (1e9, 86_400.0)])
def test_retry_after_is_a_minimum_and_at_most_a_day(asked: float, pause: float) -> None:
    found = decide(Outcome.THROTTLED, attempts=1, at=AT, chance=0.5, retry_after_seconds=asked)
    assert pause_of(found) == pause


def test_gone_and_final_statuses_end_at_once() -> None:
    gone = decide(Outcome.GONE, attempts=1, at=AT, chance=0.5, status=410)
    final = decide(FAILED, attempts=1, at=AT, chance=0.5, final_statuses={422}, status=422)
    assert {gone.state, final.state} == {DeliveryState.EXHAUSTED}
