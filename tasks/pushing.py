"""Pushing results to webhooks and RabbitMQ: one worker for each target that has work.

All workers share one event loop and one way to record, so that a slow target slows only itself
and outcomes are recorded together. Who watches the run learns of each target's part in it.
"""

import asyncio
import logging
import shutil
import time

from batching.breaker import Breaker
from batching.errors import DiskFull
from batching.stopping import check_stop, stop_requested
from storage.deliveries import DueTarget, due_targets
from storage.ledger import now
from storage.targets import exhaust_disabled, health_of, waits_for_disabled
from tasks.push_loading import Pages
from tasks.push_parts import Parts, Watch, unwatched
from tasks.push_recording import Recorder
from tasks.push_worker import TargetWorker
from tasks.resources import resources

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STOP_LOOK_SECONDS = 0.1
LONGEST_RUN_SECONDS = 300.0
"""After that nothing new is taken, so that a run has an end; the next one goes on."""

LEAVE_SECONDS = 4.0
"""How long calls that are under way may take when the process is to stop."""

LEAST_ROOM_BYTES = 64_000_000
"""What recording may take. What is sent and cannot be recorded is sent again by every run."""


def push_results(watch: Watch = unwatched) -> dict[str, int]:
    """Push everything that is due; return how many results each target has taken.

    `watch` is called from this thread with each part of the run when that begins.
    """
    if not _is_anything_due():
        return {}
    _demand_room()
    resources().ledger.prove_writable()
    taken = asyncio.run(_Dispatcher(watch).run())
    check_stop()
    return taken


def _is_anything_due() -> bool:
    with resources().ledger.transaction() as reader:
        return bool(due_targets(reader, at=now())) or waits_for_disabled(reader)


def _demand_room() -> None:
    root = resources().directory.root
    free_bytes = shutil.disk_usage(root).free
    if free_bytes < LEAST_ROOM_BYTES:
        raise DiskFull(
            f"nothing is pushed: {root} has {free_bytes:,} bytes free, and {LEAST_ROOM_BYTES:,} "
            "may be needed to record what arrived: free some space, then it goes on by itself"
        )


class _Dispatcher:
    """Starts a worker for each target that has work, as long as there is any."""

    def __init__(self, watch: Watch) -> None:
        self._recorder = Recorder()
        self._pages = Pages()
        self._parts = Parts(watch, self._recorder.tallies)
        self._workers: dict[asyncio.Task[None], tuple[str, TargetWorker]] = {}
        self._errors: list[BaseException] = []
        self._failed: set[str] = set()
        self._ends_at = time.monotonic() + LONGEST_RUN_SECONDS

    async def run(self) -> dict[str, int]:
        """Return how many results each target has taken, when nothing is due any more."""
        try:
            await self._push()
        except BaseException as error:
            self._parts.end_all(error)
            raise
        self._parts.end_all()
        if self._errors:
            raise self._errors[0]
        tallies = self._recorder.tallies.items()
        return {target: tally.taken for target, tally in tallies if tally.taken}

    async def _push(self) -> None:
        recording = asyncio.create_task(self._recorder.run())
        try:
            failure = await self._start_until_over()
            await self._finish()
        finally:
            recording.cancel()
            await asyncio.wait({recording})
            await self._recorder.write()
        if not recording.cancelled():
            failure = recording.exception() or failure
        if failure is not None:
            raise failure

    async def _start_until_over(self) -> BaseException | None:
        """Start what is due; return what has gone wrong, for when that has ended."""
        try:
            while not (self._is_over() or self._recorder.is_failing):
                await self._start_due()
                if not self._workers:
                    break
                await self._wait(LOOK_SECONDS)
        except Exception as error:  # noqa: BLE001 - is raised later, see above
            return error
        return None

    def _is_over(self) -> bool:
        return stop_requested() or time.monotonic() >= self._ends_at

    async def _start_due(self) -> None:
        busy = {target for target, _ in self._workers.values()} | self._failed
        taken = [each for ids in self._recorder.taken.values() for each in ids]
        fresh = [
            (due, breaker)
            for due, breaker in await asyncio.to_thread(_look, taken)
            if due.target not in busy
        ]
        self._parts.begin({due.target: due.due for due, _ in fresh})
        for due, breaker in fresh:
            worker = TargetWorker(due.target, breaker, self._recorder, self._pages)
            self._workers[asyncio.create_task(worker.run())] = (due.target, worker)

    async def _wait(self, seconds: float) -> None:
        """Wait for a worker's end, for the next look, or for the wish to stop."""
        end = time.monotonic() + seconds
        while self._workers and time.monotonic() < end and not stop_requested():
            done, _ = await asyncio.wait(
                self._workers, timeout=STOP_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                target, _worker = self._workers.pop(task)
                self._note_end(task, target)
            if done:
                return

    def _note_end(self, task: "asyncio.Task[None]", target: str) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("pushing failed", exc_info=error, extra={"target": target})
            self._failed.add(target)
            self._errors.append(error)
        self._parts.end(target, error)

    async def _finish(self) -> None:
        """Let what is under way end; when the process is to stop, only for a moment."""
        for _, worker in self._workers.values():
            worker.close()
        while self._workers and not stop_requested():
            await self._wait(LOOK_SECONDS)
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=LEAVE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.wait(self._workers)


def _look(under_way: list[int]) -> list[tuple[DueTarget, Breaker]]:
    """Return the targets that have work; end what waits for destinations that are disabled."""
    with resources().ledger.transaction() as transaction:
        if waits_for_disabled(transaction):
            exhaust_disabled(transaction, under_way=under_way)
        return [
            (due, Breaker(health_of(transaction, due.target)))
            for due in due_targets(transaction, at=now())
        ]
