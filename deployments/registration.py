"""Telling Prefect about the deployments, and settling what a dead runner left behind."""

import logging
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from deployments.scheduling import Schedule, as_deployment

_log = logging.getLogger(__name__)
_UNSETTLED = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_PAGE = 200


async def register(client: PrefectClient, schedules: Sequence[Schedule]) -> dict[UUID, Schedule]:
    """Create or renew the deployments, paused if they were; return each under its id."""
    return {await _apply(client, schedule): schedule for schedule in schedules}


async def _apply(client: PrefectClient, schedule: Schedule) -> UUID:
    paused, clock_active = await _switches(client, schedule)
    return await as_deployment(schedule, paused=paused, clock_active=clock_active).aapply()


async def _switches(client: PrefectClient, schedule: Schedule) -> tuple[bool, bool]:
    """Return what an operator has switched in the Prefect UI: renewing would reset it."""
    try:
        known = await client.read_deployment_by_name(f"{schedule.flow.name}/{schedule.name}")
    except ObjectNotFound:
        return False, True
    return known.paused, all(clock.active for clock in known.schedules)


async def sweep(
    client: PrefectClient, deployment_ids: Collection[UUID], held: Collection[UUID]
) -> int:
    """End the runs that a dead runner left; return how many. Needs the runner's lock.

    Whoever holds the lock is the only runner, so a run that it does not hold has no owner.
    """
    swept = 0
    while True:
        runs = await _unsettled(client, deployment_ids)
        orphans = [run for run in runs if run.id not in held]
        for run in orphans:
            await client.set_flow_run_state(run.id, _settled(run), force=True)
        swept += len(orphans)
        if len(runs) < _PAGE or not orphans:
            break
    if swept:
        _log.warning("%d runs of an earlier process were still open; they are ended now", swept)
    return swept


async def _unsettled(client: PrefectClient, deployment_ids: Collection[UUID]) -> list[FlowRun]:
    ours = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": list(deployment_ids)},
            "state": {"type": {"any_": list(_UNSETTLED)}},
        }
    )
    return await client.read_flow_runs(flow_run_filter=ours, limit=_PAGE)


def _settled(run: FlowRun) -> State[Any]:
    if run.state is not None and run.state.is_cancelling():
        return Cancelled(message="cancelled by an operator; its process had ended")
    return Crashed(message="the pipeline was restarted while this ran; the work is taken up again")
