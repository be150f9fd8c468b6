"""Writing down what became of pushed results: many at a time, since each time takes the ledger."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import polars as pl

from batching.breaker import TargetHealth
from batching.lifecycle import DeliveryState
from storage.deliveries import ATTEMPT_COLUMNS, record_attempts
from storage.ledger import now
from storage.targets import disable_destinations, give_up_target, record_health
from tasks.push_parts import Tally
from tasks.resources import resources

logger = logging.getLogger(__name__)

MOST_UNRECORDED = 20_000
LONGEST_UNRECORDED_SECONDS = 2.0

Attempt = tuple[int, datetime, str, int | None, int, str | None, str, datetime | None]
"""One row of `ATTEMPT_COLUMNS`."""


class Recorder:
    """Collects outcomes and writes them; knows what is taken and not yet recorded."""

    def __init__(self) -> None:
        self.taken: dict[str, set[int]] = {}
        """By target: deliveries that are under way, or done and not recorded."""
        self.tallies: dict[str, Tally] = {}
        self._attempts: dict[str, list[Attempt]] = {}
        self._unwritten = 0
        self._health: dict[str, TargetHealth] = {}
        self._gone: dict[int, str] = {}
        self.is_failing = False
        """Whether the last time of writing has failed; nothing may be sent then."""
        self._wanted = asyncio.Event()
        self._writing = asyncio.Lock()

    def add(self, target: str, attempts: Sequence[Attempt]) -> None:
        """Remember attempts until they are written."""
        self._attempts.setdefault(target, []).extend(attempts)
        self._unwritten += len(attempts)
        if self._unwritten >= MOST_UNRECORDED:
            self._wanted.set()

    def note_health(self, target: str, health: TargetHealth) -> None:
        """Remember how the target fares."""
        self._health[target] = health

    def note_gone(self, destination_id: int, reason: str) -> None:
        """Let the destination be disabled."""
        self._gone[destination_id] = reason

    def release(self, target: str, delivery_ids: Iterable[int]) -> None:
        """Put back what was taken and not tried."""
        self.taken[target].difference_update(delivery_ids)

    async def room(self) -> None:
        """Wait for room to send more: what is unrecorded would be sent again after a crash.

        Look at `is_failing` then: raised here, an error would break off what others have under way.
        """
        if self._unwritten >= MOST_UNRECORDED and not self.is_failing:
            try:
                await self.write()
            except Exception:
                logger.exception("outcomes cannot be recorded, nothing more is sent")

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LONGEST_UNRECORDED_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write everything that there is; after an error it is still there."""
        async with self._writing:
            self._wanted.clear()
            attempts, self._attempts, self._unwritten = self._attempts, {}, 0
            health, self._health = self._health, {}
            gone, self._gone = self._gone, {}
            if not (attempts or health or gone):
                return
            rows = [row for of_target in attempts.values() for row in of_target]
            try:
                await asyncio.to_thread(_write, rows, health, gone)
            except Exception:  # not after a cancellation: the thread goes on, and writes them
                self._put_back(attempts, health, gone)
                raise
            self.is_failing = False
        for target, of_target in attempts.items():
            self.release(target, [row[0] for row in of_target])
            self._count(target, Counter(row[6] for row in of_target))

    def _put_back(
        self,
        attempts: Mapping[str, list[Attempt]],
        health: dict[str, TargetHealth],
        gone: dict[int, str],
    ) -> None:
        """Keep what could not be written together with what has come meanwhile."""
        self.is_failing = True
        for target, of_target in attempts.items():
            self._attempts[target] = of_target + self._attempts.get(target, [])
            self._unwritten += len(of_target)
        self._health = health | self._health
        self._gone = gone | self._gone

    def _count(self, target: str, states: Mapping[str, int]) -> None:
        tally = self.tallies.setdefault(target, Tally())
        delivered = states.get(DeliveryState.DELIVERED, 0)
        tally.taken += delivered
        tally.failed += sum(states.values()) - delivered
        tally.given_up += states.get(DeliveryState.EXHAUSTED, 0)


def _write(attempts: list[Attempt], health: dict[str, TargetHealth], gone: dict[int, str]) -> None:
    frame = pl.DataFrame(attempts, schema=ATTEMPT_COLUMNS, orient="row")
    days = resources().settings.disable_failing_days
    with resources().ledger.transaction() as transaction:
        record_attempts(transaction, frame)
        disable_destinations(transaction, gone)
        for target, known in health.items():
            record_health(transaction, target, known)
            if known.failing_since is not None and attempts:
                give_up_target(transaction, target, failing_days=days, at=now())
