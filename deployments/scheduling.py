"""A flow with its schedule, and the Prefect deployment made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Interval
from prefect.schedules import Schedule as Clock
from prefect.types.entrypoint import EntrypointType

TAGS = ("obm",)
_ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
"""Fixed: counted from its start, a process that restarts often would never reach the hour."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A flow, how often it runs, and how to see that it would have nothing to do."""

    flow: Flow[..., Any]
    name: str
    interval_seconds: float
    """0: never by the clock, only when it is nudged or asked for."""
    has_work: Callable[[], bool]
    """Asked before a scheduled run is begun: without work it is marked Skipped."""
    description: str | None = None


def as_deployment(
    schedule: Schedule,
    *,
    work_pool_name: str | None = None,
    paused: bool = False,
    clock_active: bool = True,
) -> RunnerDeployment:
    """Return the Prefect deployment: for our runner, `prefect.serve` or a work pool.

    The entrypoint names a module: a path entrypoint would put `flows/` on `sys.path`.
    """
    return RunnerDeployment.from_flow(
        schedule.flow,
        name=schedule.name,
        schedule=_interval(schedule.interval_seconds, active=clock_active),
        paused=paused,
        description=schedule.description,
        tags=list(TAGS),
        work_pool_name=work_pool_name,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _interval(seconds: float, *, active: bool) -> Clock | None:
    if seconds == 0:
        return None
    return Interval(timedelta(seconds=seconds), anchor_date=_ANCHOR, active=active)
