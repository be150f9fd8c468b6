"""Follows the ledger for all sessions of the process: one look-out, one copy, shared results."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.snapshots import ledger_generation, snapshot

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_SECONDS: Final = 1.0
RESULTS_LAST_SECONDS: Final = 30.0
"""Much depends on the time of day, on what other processes say, and not on the ledger alone."""
_COPY_SHARE: Final = 20
"""Copying takes at most one part in so many of the time."""
_READ_SHARE: Final = 10
"""Reading what all pages show takes about one part in so many of the time."""
_LONGEST_READ_PAUSE_SECONDS: Final = 10.0
_READERS: Final = 2
_KEEP_COPY_SECONDS: Final = 3600.0
_HELD_UNSEEN_SECONDS: Final = 30.0


class Live:
    """Knows which state of the ledger is the newest, and reads each thing of it once."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="dashboard")
        self._results: dict[Hashable, asyncio.Future[Any]] = {}
        self._generation: str | None = None
        self._looking: asyncio.Future[None] | None = None
        self._held = ExitStack()
        self._letting_go: asyncio.TimerHandle | None = None
        self._looked = 0.0
        self._forgotten = 0.0
        self._copy_seconds = 0.0
        self._read_seconds = 0.0
        self.version = 0
        """Goes up when the ledger has changed, and when what was read has become old."""
        self.as_of: datetime | None = None
        """Until when the newest copy is the truth."""
        self.trouble: str | None = None
        """Why there is none, if there is none."""

    async def follow(self, *, at_once: bool = False) -> int:
        """Look whether the ledger has changed, if that is due; return the version.

        However many sessions ask: one of them looks, the others wait for what it finds.
        """
        if at_once and self._looking is not None:
            await asyncio.shield(self._looking)  # it may have begun before what is looked for
        if self._looking is None or self._looking.done():
            if not at_once and time.monotonic() - self._looked < self._pause_seconds():
                return self.version
            self._looking = asyncio.ensure_future(self._look())
        await asyncio.shield(self._looking)
        return self.version

    async def shared(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` returns, which runs in a thread, once for a key and version."""
        found = self._results.get(key)
        if found is None:
            found = self._results[key] = asyncio.ensure_future(self._read(read))
        try:
            result: T = await asyncio.shield(found)
        except Exception:
            if self._results.get(key) is found:  # who asks next may have more luck
                del self._results[key]
            raise
        return result

    async def _read(self, read: Callable[[], T]) -> T:
        def timed() -> tuple[T, float]:
            began = time.monotonic()
            return read(), time.monotonic() - began

        result, seconds = await self.in_thread(timed)
        self._read_seconds += seconds
        return result

    def _pause_seconds(self) -> float:
        """Return how long to look away: a large ledger with many onlookers must not wear us out."""
        for_reading = min(_READ_SHARE * self._read_seconds, _LONGEST_READ_PAUSE_SECONDS)
        return max(LOOK_SECONDS, _COPY_SHARE * self._copy_seconds, for_reading)

    def forget(self) -> None:
        """Read everything anew when it is asked for next."""
        self._results.clear()
        self._forgotten = time.monotonic()

    async def in_thread(self, read: Callable[[], T]) -> T:
        """Return what `read` returns, which runs in one of the dashboard's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    def reading(self, read: Callable[[Transaction], T]) -> T:
        """Return what `read` makes of the newest copy; to be called in a thread."""
        with snapshot(self._directory, max_age_seconds=_KEEP_COPY_SECONDS) as reader:
            return read(reader)

    async def _look(self) -> None:
        self._looked = time.monotonic()
        self._hold_while_seen()
        looked_at = datetime.now(UTC)
        generation = ledger_generation(self._directory)
        try:
            if generation != self._generation:
                await self.in_thread(self._copy)
                self._generation = generation
                self._begin_version()
            elif time.monotonic() - self._forgotten >= RESULTS_LAST_SECONDS:
                self._begin_version()
        except Exception as error:
            logger.exception("the dashboard cannot read the ledger")
            self.trouble = str(error)
        else:
            self.as_of, self.trouble = looked_at, None
        self._looked = time.monotonic()

    def _begin_version(self) -> None:
        self.forget()
        self._read_seconds = 0.0
        self.version += 1

    def _copy(self) -> None:
        began = time.monotonic()
        newest = ExitStack()
        newest.enter_context(snapshot(self._directory, max_age_seconds=0.0))
        self._copy_seconds = time.monotonic() - began
        self._hold(newest)

    def _hold(self, copy: ExitStack) -> None:
        """Keep a copy open: opening it takes many times as long as most of what is read."""
        self._held, last = copy, self._held
        last.close()

    def _hold_while_seen(self) -> None:
        """Let go of the copy, its memory and its room on the disk when nobody looks any more."""
        if self._letting_go is not None:
            self._letting_go.cancel()
        self._letting_go = asyncio.get_running_loop().call_later(
            _HELD_UNSEEN_SECONDS, self._threads.submit, self._hold, ExitStack()
        )
