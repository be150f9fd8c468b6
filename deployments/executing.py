"""Executing one claimed flow run in a thread of this process."""

import asyncio
import copy
import functools
import logging
import threading
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Completed, Crashed

from batching.errors import StopRequested
from batching.stopping import stop_signal

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Execution:
    """A run that this process holds, and the two ways of asking it to end."""

    run_id: UUID
    deployment_id: UUID
    name: str
    stop: threading.Event = field(default_factory=threading.Event)
    cancel_requested: bool = False

    def cancel(self) -> None:
        """Ask the run to end as cancelled."""
        self.cancel_requested = True
        self.stop.set()


def execute(flow: Flow[..., Any], run: FlowRun, execution: Execution) -> State[Any] | None:
    """Run the flow to its end; return its last known state, None if Prefect lost track of it.

    Never call it in the main thread: there Prefect installs its own SIGTERM handler.
    """
    try:
        with stop_signal(execution.stop):
            return asyncio.run(_run(_stoppable(flow, execution), run))
    except BaseException:  # noqa: BLE001 - Prefect's signals (Abort, Pause) are no Exceptions
        _log.exception("run %s of %s ended without a final state", run.id, execution.name)
        return None


async def _run(flow: Flow[..., Any], run: FlowRun) -> State[Any]:
    result: Any = run_flow(flow, flow_run=run, parameters=run.parameters, return_type="state")
    state: State[Any] = await result
    return state


def final_state(execution: Execution, last_known: State[Any] | None) -> State[Any] | None:
    """Return the state that still has to be recorded for an ended run, None if it has one."""
    if last_known is not None and last_known.is_final():
        return None
    if execution.cancel_requested or (last_known is not None and last_known.is_cancelling()):
        return Cancelled(message="cancelled by an operator")
    return Crashed(message="its end could not be recorded: Prefect did not answer")


def _stoppable(flow: Flow[..., Any], execution: Execution) -> Flow[..., Any]:
    """Return the flow with an end that an operator understands when it is asked to stop."""
    body = flow.fn

    @functools.wraps(body)
    async def stoppable_body(*args: Any, **kwargs: Any) -> Any:
        try:
            result = await body(*args, **kwargs)
        except StopRequested as request:
            result = Completed(name="Stopped", message=str(request))
        if execution.cancel_requested:
            return Cancelled(message="cancelled by an operator")
        return result

    stoppable = copy.copy(flow)
    stoppable.fn = stoppable_body
    return stoppable
