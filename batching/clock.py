"""The clock on the wall: it may be put forward or back, and a machine may sleep, at any moment.

What waits until a recorded moment says how long it waits at most; what must have lasted for a
while counts only the time in which somebody was there to see it.
"""

from datetime import UTC, datetime, timedelta

PUT_BACK_SECONDS = 60
"""What lies further ahead was recorded before the clock was put back; what lies nearer, only a
moment after the one who looks at it has looked at the clock."""

UNSEEN_SHARE = 5
"""At most a fifth of what must have lasted may lie between two looks."""


def now() -> datetime:
    """Return the present moment in UTC; whatever is recorded takes its time from here."""
    return datetime.now(UTC)


def is_due(moment: datetime | None, at: datetime, *, longest_seconds: float) -> bool:
    """Return whether a wait until a moment is over.

    A moment further away than anybody waits was recorded before the clock was put back.
    """
    return moment is None or not at < moment <= at + timedelta(seconds=longest_seconds)


def age_seconds(since: datetime, at: datetime) -> float:
    """Return how long ago something was; endless if it lies ahead, since the clock was put back.

    For what must not be held up by such a clock.
    """
    age = (at - since).total_seconds()
    return max(0.0, age) if age > -PUT_BACK_SECONDS else float("inf")


def seen_since(
    since: datetime, *, next_look: datetime | None, at: datetime, seconds: float
) -> datetime:
    """Return since when something has lasted, as far as that counts; it must last so many seconds.

    `next_look` is when it should have been looked at. If that was long ago, nobody was there, or
    the clock was put forward: of that time little counts. If the clock was put back, it begins
    anew.
    """
    if since > at:
        return at
    unseen = (at - (next_look or since)) - timedelta(seconds=seconds / UNSEEN_SHARE)
    return min(since + max(unseen, timedelta()), at)
