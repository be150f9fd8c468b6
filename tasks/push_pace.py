"""The pace at which one target is called: fewer calls when it asks for less, a rate if given."""

import asyncio
import time
from collections.abc import Sequence

from batching.deliveries import Outcome


class Pace:
    """How many calls may be under way, halved when throttled and slowly raised again."""

    def __init__(self, concurrency: int, rate_per_second: float | None) -> None:
        self._most = float(concurrency)
        self._allowed = float(concurrency)
        self._interval = 1.0 / rate_per_second if rate_per_second else 0.0
        self._next_at = 0.0
        self._grown = asyncio.Event()

    @property
    def allowed(self) -> int:
        """How many calls may be under way now."""
        return max(1, int(self._allowed))

    async def room(self, lane: int) -> None:
        """Wait until this lane (they count from 0) may have a call under way."""
        while lane >= self.allowed:
            self._grown.clear()
            await self._grown.wait()

    async def turn(self) -> None:
        """Wait until the rate allows another call."""
        if self._interval:
            at = max(time.monotonic(), self._next_at)
            self._next_at = at + self._interval
            await asyncio.sleep(at - time.monotonic())

    def end(self) -> None:
        """Let every lane go on, to its end: nothing more is to be sent."""
        self._allowed = self._most
        self._grown.set()

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from the answer to one call."""
        if Outcome.THROTTLED in outcomes:
            self._allowed = max(1.0, self._allowed / 2.0)
        elif self._allowed < self._most:
            self._allowed = min(self._most, self._allowed + 1.0 / self._allowed)
            self._grown.set()
