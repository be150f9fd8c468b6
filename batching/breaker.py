"""The circuit breaker of a target: when most attempts fail it is left alone, longer each time."""

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from batching.clock import is_due
from batching.retry import LONGEST_ASKED_SECONDS, growing_pause_seconds

WINDOW_SECONDS: Final = 60.0
FEWEST_ATTEMPTS: Final = 10
MOST_FAILING: Final = 0.5
FIRST_OPEN_SECONDS: Final = 15.0
LONGEST_OPEN_SECONDS: Final = 600.0
_JITTER: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetHealth:
    """What is remembered of a target from one run to the next."""

    open_until: datetime | None = None
    """Until then nothing is sent."""
    openings: int = 0
    """How often in a row it was opened; above 0 one probe goes first."""
    failing_since: datetime | None = None
    """The first failure since the last success."""
    last_success_at: datetime | None = None
    last_outcome: str | None = None
    problem: str | None = None


@dataclass(kw_only=True, slots=True)
class _Second:
    """The attempts that ended within one second."""

    at: datetime
    succeeded: int = 0
    failed: int = 0


class Breaker:
    """Follows the attempts at one target; the caller brings time and chance."""

    def __init__(self, health: TargetHealth) -> None:
        self.health = health
        self._recent: deque[_Second] = deque()

    def is_open(self, at: datetime) -> bool:
        """Return whether the target is left alone at this moment."""
        return not is_due(self.health.open_until, at, longest_seconds=LONGEST_ASKED_SECONDS)

    @property
    def needs_probe(self) -> bool:
        """Whether one delivery must succeed before more follow."""
        return self.health.openings > 0

    def succeeded(self, at: datetime, *, times: int = 1) -> None:
        """Note attempts that succeeded; a probe's success closes the breaker."""
        self._second(at).succeeded += times
        is_probe = self.needs_probe and not self.is_open(at)
        kept = TargetHealth() if is_probe or not self.is_open(at) else self.health
        self.health = replace(
            kept, failing_since=None, last_success_at=at, last_outcome="success", problem=None
        )

    def failed(self, outcome: str, problem: str | None, *, at: datetime, chance: float) -> None:
        """Note an attempt that failed; opens the breaker if that was a probe or most fail."""
        self._second(at).failed += 1
        self.health = replace(
            self.health,
            failing_since=self.health.failing_since or at,
            last_outcome=outcome,
            problem=problem or outcome,
        )
        if not self.is_open(at) and (self.needs_probe or self._mostly_fails(at)):
            self._open(at, chance)

    def answered(self, at: datetime) -> None:
        """Note that the target works, though it did not take this result."""
        if self.needs_probe and not self.is_open(at):
            self.health = replace(self.health, openings=0, open_until=None)

    def trouble(self, outcome: str, problem: str, *, at: datetime, chance: float) -> None:
        """Open the breaker for something that is no message's fault and counts as no failure."""
        self.health = replace(self.health, last_outcome=outcome, problem=problem)
        if not self.is_open(at):
            self._open(at, chance)

    def leave_alone(self, seconds: float, *, at: datetime) -> None:
        """Send nothing for so long, because the target has asked for it."""
        until = at + timedelta(seconds=min(seconds, LONGEST_ASKED_SECONDS))
        known = self.health.open_until if self.is_open(at) else None
        self.health = replace(self.health, open_until=max(until, known) if known else until)

    def _second(self, at: datetime) -> _Second:
        if not self._recent or at - self._recent[-1].at >= timedelta(seconds=1):
            self._recent.append(_Second(at=at))
        return self._recent[-1]

    def _mostly_fails(self, at: datetime) -> bool:
        while at - self._recent[0].at > timedelta(seconds=WINDOW_SECONDS):
            self._recent.popleft()
        failed = sum(second.failed for second in self._recent)
        attempts = failed + sum(second.succeeded for second in self._recent)
        return attempts >= FEWEST_ATTEMPTS and failed >= MOST_FAILING * attempts

    def _open(self, at: datetime, chance: float) -> None:
        openings = self.health.openings + 1
        pause_seconds = growing_pause_seconds(
            openings, first_seconds=FIRST_OPEN_SECONDS, longest_seconds=LONGEST_OPEN_SECONDS
        )
        spread = 1.0 - _JITTER + 2.0 * _JITTER * chance
        self._recent.clear()
        self.health = replace(
            self.health,
            openings=openings,
            open_until=at + timedelta(seconds=pause_seconds * spread),
        )
