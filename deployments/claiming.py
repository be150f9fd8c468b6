"""Which of the due runs are begun, which are skipped, and claiming one from Prefect."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.states import Completed, Pending


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What happens to the runs that are due."""

    begin: tuple[FlowRun, ...]
    skip: tuple[FlowRun, ...]


def choose(due: Sequence[FlowRun], busy: Collection[UUID]) -> Choice:
    """Return at most one run to begin per free deployment, and the missed ones to skip.

    Of the scheduled runs only the newest stays: the earlier ones were to do the same work.
    Runs that somebody asked for are all kept, and come first.
    """
    by_deployment: dict[UUID, list[FlowRun]] = defaultdict(list)
    for run in due:
        if run.deployment_id is not None:
            by_deployment[run.deployment_id].append(run)
    begin: list[FlowRun] = []
    skip: list[FlowRun] = []
    for deployment_id, runs in by_deployment.items():
        asked_for = [run for run in runs if not run.auto_scheduled]
        scheduled = [run for run in runs if run.auto_scheduled]
        skip.extend(scheduled[:-1])
        if deployment_id not in busy:
            begin.extend((asked_for[:1] or scheduled[-1:])[:1])
    return Choice(begin=tuple(begin), skip=tuple(skip))


async def claim(client: PrefectClient, run: FlowRun) -> FlowRun | None:
    """Return the run as ours to execute, or None if it is not to be executed any more."""
    answer: OrchestrationResult[Any] = await client.set_flow_run_state(run.id, Pending())
    if answer.status != SetStateStatus.ACCEPT:
        return None
    return run.model_copy(update={"state": answer.state})


async def skip(client: PrefectClient, run: FlowRun, reason: str) -> None:
    """End a scheduled run without executing it; it shows as Skipped, with the reason."""
    await client.set_flow_run_state(run.id, Completed(name="Skipped", message=reason))
