"""What becomes of a delivery after an attempt: it is done, it is tried again, or it has ended."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from batching.deliveries import Outcome
from batching.lifecycle import DeliveryState

_MINUTE, _HOUR = 60.0, 3_600.0
PAUSES_SECONDS: Final = (
    5.0, 5 * _MINUTE, 30 * _MINUTE,
    2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR,
)  # fmt: skip
"""The pause after each attempt that failed; there is none after the last attempt."""

LONGEST_RETRY_AFTER_SECONDS: Final = 24 * _HOUR
_JITTER: Final = 0.2

BROKER_TROUBLE: Final = frozenset({Outcome.CONNECTION_ERROR, Outcome.AUTHORIZATION_ERROR})
"""What is the broker's trouble and no message's: it costs the messages no attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to record for a delivery."""

    state: DeliveryState
    next_attempt_at: datetime | None = None


def decide(
    outcome: Outcome,
    *,
    attempts: int,
    at: datetime,
    chance: float,
    retry_after_seconds: float | None = None,
    final_statuses: AbstractSet[int] = frozenset(),
    status: int | None = None,
) -> Decision:
    """Return the delivery's next state after an attempt that ended at this moment.

    `attempts` were made in all, this one included; `chance` is between 0 and 1.
    """
    if outcome is Outcome.SUCCESS:
        return Decision(state=DeliveryState.DELIVERED)
    if is_final(outcome, status, final_statuses) or attempts > len(PAUSES_SECONDS):
        return Decision(state=DeliveryState.EXHAUSTED)
    pause_seconds = PAUSES_SECONDS[max(attempts, 1) - 1] * _spread(chance)
    asked_seconds = min(retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS)
    pause = timedelta(seconds=max(pause_seconds, asked_seconds))
    return Decision(state=DeliveryState.PENDING, next_attempt_at=at + pause)


def is_final(outcome: Outcome, status: int | None, final_statuses: AbstractSet[int]) -> bool:
    """Return whether a failure says that another attempt would be of no use."""
    return outcome is Outcome.GONE or status in final_statuses


def _spread(chance: float) -> float:
    """Return a factor around 1, so that what failed together does not come back together."""
    return 1.0 - _JITTER + 2.0 * _JITTER * chance
