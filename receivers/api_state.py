"""How it is: alive, and ready."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from receivers.context import WebContext, web_context
from receivers.views import ERRORS
from storage.directory import DataDirectory
from storage.health import Health, read_health
from storage.ledger_check import ledger_trouble

router = APIRouter(tags=["state"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
_ASKING: Final = ("pipeline", "consumer")
"""The roles that speak with outside systems."""


@router.get("/health")
def show_health() -> dict[str, str]:
    """Return that the process answers."""
    return {"status": "ok"}


@router.get("/ready", response_model=dict[str, Any], responses={503: {"model": dict[str, Any]}})
def show_ready(context: Context) -> Response:
    """Return whether work goes on, why not, and how long ago each outside system last answered."""
    at = datetime.now(UTC)
    pipeline = read_health(context.directory.health, "pipeline")
    is_running = pipeline is not None and pipeline.is_fresh(at) and pipeline.state == "running"
    trouble = ledger_trouble(context.directory)
    reasons = [] if trouble is None else [trouble]
    reasons += [] if is_running else [_why_not_running(pipeline, at)]
    content = {
        "status": "not_ready" if reasons else "ready",
        "reasons": reasons,
        "ledger": trouble is None,
        "pipeline": {
            "running": is_running,
            "state": pipeline.state if pipeline else None,
            "message": pipeline.message if pipeline else None,
        },
        "seconds_since_last_answer": _last_answers(context.directory, at),
    }
    return Response(
        msgspec.json.encode(content), 503 if reasons else 200, media_type="application/json"
    )


def _why_not_running(pipeline: Health | None, at: datetime) -> str:
    if pipeline is None or not pipeline.is_fresh(at) or pipeline.state == "stopped":
        return "no pipeline runs on this data directory: start `obm up`"
    said = f": {pipeline.message}" if pipeline.message else ""
    return f"the pipeline is {pipeline.state}{said}"


def _last_answers(directory: DataDirectory, at: datetime) -> dict[str, float]:
    """Return for each outside system how long ago it last answered anybody here."""
    ages: dict[str, float] = {}
    for role in _ASKING:
        said = read_health(directory.health, role)
        for system, moment in (said.last_answers if said else {}).items():
            age = round((at - moment).total_seconds(), 1)
            ages[system] = min(age, ages.get(system, age))
    return ages
