"""Waiting for further results: one look at the ledger for all clients that wait."""

import asyncio
import logging
from typing import Final

from batching.errors import BatchManagerError
from storage.directory import DataDirectory
from storage.result_feed import last_sequence
from storage.snapshots import ledger_generation, snapshot

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.25
_READ_SECONDS: Final = 1.0
"""The ledger is read at most so often, however often it changes."""
_LOOKS_AT_ONCE: Final = 4


class ResultWatch:
    """Wakes waiting clients when a result was recorded; belongs to one event loop.

    While nobody waits it does nothing; while somebody does it looks whether the ledger's file
    has changed, and reads it only then.
    """

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._changed = asyncio.Event()
        self._stopped = False
        self._waiting = 0
        self._watching: asyncio.Task[None] | None = None
        self._generation = ""
        self._last = 0
        self.looks = asyncio.Semaphore(_LOOKS_AT_ONCE)
        """Those who wake up together look one after another, and leave room for other calls."""

    @property
    def is_stopped(self) -> bool:
        """Whether nobody shall wait any more."""
        return self._stopped

    async def wait_beyond(self, sequence: int, *, seconds: float) -> int:
        """Return the last result's place when it is behind this one, or when the time is over."""
        if self._last > sequence:
            return self._last
        changed = self._changed
        self._waiting += 1
        try:
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch())
            await asyncio.wait_for(changed.wait(), seconds)
        except TimeoutError:
            return self._last
        finally:
            self._waiting -= 1
        return self._last

    def stop(self) -> None:
        """Let everybody who waits go, now and from now on."""
        self._stopped = True
        self._changed.set()

    async def _watch(self) -> None:
        while self._waiting and not self._stopped:
            generation = ledger_generation(self._directory)
            if generation == self._generation:
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            try:
                last = await asyncio.to_thread(self._read)
            except (BatchManagerError, OSError) as error:
                logger.warning("waiting for results: the ledger cannot be read: %s", error)
            else:
                self._generation = generation
                self._tell(last)
            await asyncio.sleep(_READ_SECONDS)

    def _read(self) -> int:
        if not self._directory.ledger.exists():
            return 0
        # Not an older copy: what is in there would be told only with the next change.
        with snapshot(self._directory, max_age_seconds=0.0) as reader:
            return last_sequence(reader)

    def _tell(self, last: int) -> None:
        if last > self._last:
            self._last = last
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
