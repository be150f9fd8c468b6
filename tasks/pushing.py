"""Pushing results to webhooks and RabbitMQ: one worker for each target that has work."""

import asyncio
import logging
import time

from batching.breaker import Breaker
from batching.stopping import check_stop, stop_requested
from storage.deliveries import due_targets
from storage.ledger import now
from storage.targets import exhaust_disabled, health_of, waits_for_disabled
from tasks.push_recording import Recorder
from tasks.push_worker import TargetWorker
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STOP_LOOK_SECONDS = 0.1
LONGEST_RUN_SECONDS = 300.0
"""After that nothing new is taken, so that a run has an end; the next one goes on."""

LEAVE_SECONDS = 4.0
"""How long calls that are under way may take when the process is to stop."""


@step(name="push results")
def push_results() -> dict[str, int]:
    """Push everything that is due; return how many results each target has taken."""
    if not _is_anything_due():
        return {}
    delivered = asyncio.run(_Dispatcher().run())
    check_stop()
    return delivered


def _is_anything_due() -> bool:
    with resources().ledger.transaction() as reader:
        return bool(due_targets(reader, at=now())) or waits_for_disabled(reader)


class _Dispatcher:
    """Starts a worker for each target that has work, as long as there is any."""

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._workers: dict[asyncio.Task[None], tuple[str, TargetWorker]] = {}
        self._errors: list[BaseException] = []
        self._failed: set[str] = set()
        self._ends_at = time.monotonic() + LONGEST_RUN_SECONDS

    async def run(self) -> dict[str, int]:
        """Return how many results each target has taken, when nothing is due any more."""
        recording = asyncio.create_task(self._recorder.run())
        try:
            while not self._is_over(recording):
                await self._start_due()
                if not self._workers:
                    break
                await self._wait(LOOK_SECONDS)
            await self._finish()
        finally:
            recording.cancel()
            await asyncio.wait({recording})
            await self._recorder.write()
        if self._errors:
            raise self._errors[0]
        return self._recorder.delivered

    def _is_over(self, recording: "asyncio.Task[None]") -> bool:
        if recording.done():
            recording.result()
        return stop_requested() or time.monotonic() >= self._ends_at

    async def _start_due(self) -> None:
        busy = {target for target, _ in self._workers.values()}
        taken = [each for ids in self._recorder.taken.values() for each in ids]
        for target, breaker in await asyncio.to_thread(_look, taken):
            if target not in busy and target not in self._failed:
                worker = TargetWorker(target, breaker, self._recorder)
                self._workers[asyncio.create_task(worker.run())] = (target, worker)

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


def _look(under_way: list[int]) -> list[tuple[str, Breaker]]:
    """Return the targets that have work; end what waits for destinations that are disabled."""
    with resources().ledger.transaction() as transaction:
        if waits_for_disabled(transaction):
            exhaust_disabled(transaction, under_way=under_way)
        return [
            (due.target, Breaker(health_of(transaction, due.target)))
            for due in due_targets(transaction, at=now())
        ]
