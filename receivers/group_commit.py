"""One disk write for all requests that came in while the one before was being written.

A request is acknowledged when the group that holds its line is durable. If a group cannot be
written nothing of it stays in the log, and none of its requests is acknowledged.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from pathlib import Path
from typing import TypeVar

from batching.requests import ReadRequest
from storage.intake_log import IntakeLog
from storage.known_ids import Known, KnownIds
from storage.received_lines import received_line

_Result = TypeVar("_Result")


class Verdict(Enum):
    """What became of a request whose group is durable."""

    ACCEPTED = auto()
    DUPLICATE = auto()
    CONFLICT = auto()


class _Group:
    """The lines that are written together, and the ids that hang on them."""

    __slots__ = ("done", "ids", "lines")

    def __init__(self, done: "asyncio.Future[None]") -> None:
        self.done = done
        self.lines: list[bytes] = []
        self.ids: dict[tuple[str, int], int] = {}

    async def written(self) -> None:
        """Wait until the group is durable; who stops waiting does so for himself alone."""
        await asyncio.shield(self.done)


class GroupCommit:
    """Takes requests into the log of this process; belongs to one event loop."""

    def __init__(self, log: IntakeLog, known_ids: KnownIds) -> None:
        self._log = log
        self._known_ids = known_ids
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="intake-log")
        self._filling: _Group | None = None
        self._written: _Group | None = None

    async def take(self, job: str, request: ReadRequest, line: bytes) -> Verdict:
        """Return what became of a request, durably; DiskFull or OSError if it was not written."""
        known = self._known_ids.look_up(job, request.id_hash, request.payload_hash)
        if known is not Known.NEW:
            return Verdict.DUPLICATE if known is Known.SAME else Verdict.CONFLICT
        key = (job, request.id_hash)
        for group in (self._written, self._filling):
            if group is not None and key in group.ids:
                is_same = group.ids[key] == request.payload_hash
                await group.written()
                return Verdict.DUPLICATE if is_same else Verdict.CONFLICT
        group = self._group_to_fill()
        group.ids[key] = request.payload_hash
        group.lines.append(received_line(job, time.time_ns() // 1_000, line))
        await group.written()
        return Verdict.ACCEPTED

    async def seal_if_due(self) -> bool:
        """Hand the log over to ingestion if it is old or large enough."""
        return await self._in_writer_thread(self._log.seal_if_due)

    async def seal(self, *, urgent: bool = False) -> Path | None:
        """Hand the log over to ingestion now."""
        return await self._in_writer_thread(lambda: self._log.seal(urgent=urgent))

    async def close(self) -> None:
        """Hand the log over after what is still being written; nothing is taken any more."""
        while (group := self._filling or self._written) is not None:
            await asyncio.wait([group.done])
        await self._in_writer_thread(self._log.close)
        self._writer.shutdown()

    def _in_writer_thread(self, work: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        return asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _group_to_fill(self) -> _Group:
        if self._filling is None:
            loop = asyncio.get_running_loop()
            self._filling = _Group(loop.create_future())
            if self._written is None:
                # Not at once: what else has arrived in this turn of the loop comes along.
                loop.call_soon(self._write_next)
        return self._filling

    def _write_next(self) -> None:
        group, self._filling = self._filling, None
        self._written = group
        if group is not None:
            lines = group.lines
            written = self._in_writer_thread(lambda: self._log.write(lines))
            written.add_done_callback(self._on_written)

    def _on_written(self, written: "asyncio.Future[None]") -> None:
        group = self._written
        error = written.exception()
        if group is not None:
            if error is None:
                for (job, id_hash), payload_hash in group.ids.items():
                    self._known_ids.add(job, id_hash, payload_hash)
            _settle(group.done, error)
        self._write_next()


def _settle(done: "asyncio.Future[None]", error: BaseException | None) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
