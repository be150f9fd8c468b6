"""The in-process runner: executes the runs that Prefect schedules, in threads of this process.

Prefect keeps schedules, states, logs and the UI. A run costs a tenth of a second here, where
a process for each run would cost two.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed, Scheduled

from deployments import claiming
from deployments.executing import Execution, execute, final_state
from deployments.nudging import Nudges
from deployments.registration import register, sweep
from deployments.scheduling import Schedule
from storage.health import HealthFile

_log = logging.getLogger(__name__)

Watch = Callable[[], Iterable[str]]
"""Looks for outside events; returns the names of the flows to nudge."""

POLL_SECONDS = 2.0
_WATCH_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
DRAIN_SECONDS = 4.0
_ABANDON_SECONDS = 1.0


class Runner:
    """Claims and executes the runs of our deployments, one at a time for each."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        *,
        nudges: Nudges,
        health: HealthFile,
        watch: Watch | None = None,
    ) -> None:
        self._schedules = tuple(schedules)
        self._nudges = nudges
        self._health = health
        self._watch = watch
        self._deployments: dict[UUID, Schedule] = {}
        self._held: dict[UUID, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unrecorded: dict[UUID, State[Any]] = {}
        self._threads = ThreadPoolExecutor(max(1, len(self._schedules)), "flow")
        self._lookouts = ThreadPoolExecutor(2, "lookout")
        self._wake = asyncio.Event()
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Work until the stop event is set; return whether every flow ended in time.

        The caller holds the runner's lock: there is one runner.
        """
        loop = asyncio.get_running_loop()
        self._nudges.on_nudge(lambda: _wake_threadsafe(loop, self._wake))
        async with get_client() as client:
            working = asyncio.create_task(self._work(client))
            watching = asyncio.create_task(self._keep_watch())
            await stop.wait()
            self._stopping = True
            self._health.report("stopping")
            await _cancelled(working, watching)
            self._nudges.on_nudge(None)
            ended = await self._drain(client)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._lookouts.shutdown(wait=False, cancel_futures=True)
        return ended

    async def _work(self, client: PrefectClient) -> None:
        """Pass after pass; after trouble with Prefect's API, register and sweep anew."""
        failures = 0
        while True:
            try:
                if failures or not self._deployments:
                    await self._begin_anew(client)
                await self._pass(client)
            except Exception as error:  # noqa: BLE001 - whatever the API does, the loop goes on
                failures += 1
                pause = min(_FIRST_PAUSE_SECONDS * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
                _log.warning("Prefect's API: %s; again in %.1f s", _said(error), pause)
                self._health.report("waiting", f"Prefect does not answer: {_said(error)}")
                await asyncio.sleep(pause)
            else:
                failures = 0
                self._health.answered("prefect")
                self._health.report("running")
                await _first_of(self._wake, POLL_SECONDS)

    async def _begin_anew(self, client: PrefectClient) -> None:
        """Register and sweep; what waits already need not wait for its schedule."""
        self._deployments = await register(client, self._schedules)
        await sweep(client, self._deployments, {*self._held, *self._unrecorded})
        for schedule in self._schedules:
            if await self._has_work(schedule):
                self._nudges.nudge(schedule.name)

    async def _pass(self, client: PrefectClient) -> None:
        self._wake.clear()
        await self._record_ends(client)
        await self._notice_cancellations(client)
        await self._begin_nudged(client)
        due = await client.get_scheduled_flow_runs_for_deployments(
            list(self._deployments), scheduled_before=datetime.now(UTC)
        )
        choice = claiming.choose([run for run in due if run.id not in self._held], self._busy)
        for run in choice.begin:
            await self._begin_or_skip(client, run)
        for run in choice.skip:
            await claiming.skip(client, run, "a later run does its work")

    @property
    def _busy(self) -> frozenset[UUID]:
        return frozenset(execution.deployment_id for execution in self._held.values())

    async def _begin_nudged(self, client: PrefectClient) -> None:
        busy = self._busy
        free = {s.name: id_ for id_, s in self._deployments.items() if id_ not in busy}
        for name in self._nudges.take(free):
            try:
                await self._begin_extra(client, free[name])
            except Exception:
                self._nudges.nudge(name)
                raise

    async def _begin_extra(self, client: PrefectClient, deployment_id: UUID) -> None:
        deployment = await client.read_deployment(deployment_id)
        if deployment.paused:  # an operator's pause holds for nudges as well
            return
        run = await client.create_flow_run_from_deployment(deployment_id, tags=["nudged"])
        self._begin(client, run)

    async def _begin_or_skip(self, client: PrefectClient, run: FlowRun) -> None:
        if run.auto_scheduled and not await self._has_work(self._schedule_of(run)):
            await claiming.skip(client, run, "nothing to do")
        else:
            self._begin(client, run)

    async def _has_work(self, schedule: Schedule) -> bool:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._lookouts, schedule.has_work)
        except Exception:  # noqa: BLE001 - a closer look must not stop the work
            # The flow itself will meet the same trouble and show it in its run.
            _log.exception("%s: could not see whether there is work", schedule.name)
            return True

    def _schedule_of(self, run: FlowRun) -> Schedule:
        return self._deployments[_deployment_of(run)]

    def _begin(self, client: PrefectClient, run: FlowRun) -> None:
        """Hold the run from now on: a deployment is busy before anything is awaited."""
        schedule = self._schedule_of(run)
        execution = Execution(run_id=run.id, deployment_id=_deployment_of(run), name=schedule.name)
        self._held[run.id] = execution
        task = asyncio.create_task(self._carry_out(client, schedule, run, execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(
        self, client: PrefectClient, schedule: Schedule, run: FlowRun, execution: Execution
    ) -> None:
        try:
            claimed = await claiming.claim(client, run)
            if claimed is None:
                return
            if self._stopping:
                self._give_back(run)
                return
            loop = asyncio.get_running_loop()
            # The caller's context goes along: in it are Prefect's settings in force.
            work: Callable[[], State[Any] | None] = partial(
                copy_context().run, execute, schedule.flow, claimed, execution
            )
            state = await loop.run_in_executor(self._threads, work)
            await self._note_end(client, execution, state)
        except Exception as error:  # noqa: BLE001 - one run must not end the runner
            _log.warning("run %s of %s: %s", run.id, schedule.name, _said(error))
            self._give_back(run)
        finally:
            del self._held[run.id]
            self._wake.set()

    async def _note_end(
        self, client: PrefectClient, execution: Execution, state: State[Any] | None
    ) -> None:
        if state is None or state.is_failed() or state.is_crashed():
            self._nudges.failed(execution.name)
        else:
            self._nudges.succeeded(execution.name)
        missing = final_state(execution, state)
        if missing is not None:
            self._unrecorded[execution.run_id] = missing
            await self._record_ends(client)

    def _give_back(self, run: FlowRun) -> None:
        """Have a run that was perhaps claimed, and not executed, offered again."""
        state: State[Any] = Scheduled(scheduled_time=run.next_scheduled_start_time)
        self._unrecorded.setdefault(run.id, state)

    async def _record_ends(self, client: PrefectClient) -> None:
        for run_id, state in list(self._unrecorded.items()):
            now = await client.read_flow_run(run_id)
            if now.state is None or not now.state.is_final():
                await client.set_flow_run_state(run_id, state, force=True)
            self._unrecorded.pop(run_id, None)

    async def _notice_cancellations(self, client: PrefectClient) -> None:
        """Ask cancelled flows to end: a run of this process cannot be killed."""
        if not self._held:
            return
        wanted = [StateType.CANCELLING, StateType.CANCELLED]
        ours = FlowRunFilter.model_validate(
            {"id": {"any_": list(self._held)}, "state": {"type": {"any_": wanted}}}
        )
        for run in await client.read_flow_runs(flow_run_filter=ours):
            execution = self._held.get(run.id)
            if execution is not None and not execution.cancel_requested:
                _log.info("run %s of %s: cancelled by an operator", run.id, execution.name)
                execution.cancel()

    async def _keep_watch(self) -> None:
        """Ask the watch each second, in a thread, and nudge what it names."""
        loop = asyncio.get_running_loop()
        watch, failures = self._watch, 0
        while watch is not None:
            try:
                for name in await loop.run_in_executor(self._lookouts, lambda: list(watch())):
                    self._nudges.nudge(name)
                failures = 0
            except Exception as error:  # noqa: BLE001 - schedules go on without the watch
                failures += 1
                _log.warning("watching the data directory: %s", _said(error))
            await asyncio.sleep(min(_WATCH_SECONDS * 2**failures, _LONGEST_PAUSE_SECONDS))

    async def _drain(self, client: PrefectClient) -> bool:
        for execution in self._held.values():
            execution.stop.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)
        left = list(self._held.values())
        for execution in left:
            _log.error("run %s of %s did not stop in time", execution.run_id, execution.name)
            self._unrecorded[execution.run_id] = Crashed(message="it did not stop in time")
        with suppress(Exception):
            await asyncio.wait_for(self._record_ends(client), _ABANDON_SECONDS)
        return not left


def _deployment_of(run: FlowRun) -> UUID:
    if run.deployment_id is None:
        raise ValueError(f"run {run.id} belongs to no deployment")
    return run.deployment_id


async def _first_of(event: asyncio.Event, timeout_seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_seconds)


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _wake_threadsafe(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody is left to wake
        loop.call_soon_threadsafe(event.set)


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
