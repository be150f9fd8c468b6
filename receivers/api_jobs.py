"""Jobs over REST: their progress, and what operators do to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool

from receivers.context import WebContext, actor, web_context
from receivers.job_addresses import JobRoute
from receivers.paging import (
    Cursor,
    Limit,
    Name,
    Word,
    decode_cursor,
    not_found,
    page,
    reading,
    writing,
)
from receivers.views import ERRORS, JobAccepted, Page
from storage.jobs import cancel_job, find_job, flush, set_job_paused
from storage.ledger import Ledger
from storage.reports.progress import jobs_report

router = APIRouter(tags=["jobs"], responses=ERRORS, route_class=JobRoute)
Context = Annotated[WebContext, Depends(web_context)]
Actor = Annotated[str, Depends(actor)]


@router.get("/api/jobs", response_model=Page)
def list_jobs(context: Context, limit: Limit = 100, after: Cursor = None) -> dict[str, Any]:
    """Return the jobs with their progress, the newest first."""
    place = decode_cursor(after, name="after", numbers=1)
    with reading(context) as reader:
        rows = jobs_report(reader) if reader else []
    behind = [row for row in rows if place is None or row["job_id"] < place[0]]
    return page(behind[: limit + 1], limit, "job_id")


@router.get("/api/jobs/{job:path}")
def show_job(context: Context, job: Name) -> dict[str, Any]:
    """Return the progress of a job."""
    with reading(context) as reader:
        rows = jobs_report(reader, name=job) if reader else []
    if not rows:
        raise _unknown(job)
    return rows[0]


@router.post("/api/jobs/{job:path}/cancel", status_code=202, response_model=JobAccepted)
def cancel(context: Context, who: Actor, job: Name) -> dict[str, Any]:
    """Cancel what has not run of a job; results that are paid already still arrive."""
    at_once, later = cancel_job(_ledger_with(context, job), job, actor=who)
    return {"job": job, "requests": at_once + later, "later": later}


@router.post("/api/jobs/{job:path}/pause", status_code=202, response_model=JobAccepted)
def pause(context: Context, who: Actor, job: Name) -> dict[str, Any]:
    """Hold back the job's pending requests."""
    set_job_paused(_ledger_with(context, job), job, paused=True, actor=who)
    return {"job": job, "requests": 0}


@router.post("/api/jobs/{job:path}/resume", status_code=202, response_model=JobAccepted)
def resume(context: Context, who: Actor, job: Name) -> dict[str, Any]:
    """Release the job's pending requests."""
    set_job_paused(_ledger_with(context, job), job, paused=False, actor=who)
    return {"job": job, "requests": 0}


@router.post("/api/jobs/{job:path}/flush", status_code=202, response_model=JobAccepted)
def flush_job(context: Context, who: Actor, job: Name) -> dict[str, Any]:
    """Let what is pending of a job go without filling up."""
    return {"job": job, "requests": flush(_ledger_with(context, job), job, actor=who)}


@router.post("/api/flush", status_code=202, response_model=JobAccepted)
async def flush_all(context: Context, who: Actor, job: Word = None) -> dict[str, Any]:
    """Let what is pending (of one job, or all) go; what was just received is handed over now."""
    await context.commit.seal(urgent=True)
    waiting = await run_in_threadpool(_flush, context, job, who)
    return {"job": job, "requests": waiting}


def _flush(context: WebContext, job: str | None, who: str) -> int:
    if job is not None:
        return flush(_ledger_with(context, job), job, actor=who)
    # Made if need be: what is received before there is a ledger goes with this flush, too.
    memory_bytes = context.settings.ledger_memory_bytes
    return flush(Ledger.open(context.directory, memory_bytes=memory_bytes), None, actor=who)


def _ledger_with(context: WebContext, job: str) -> Ledger:
    ledger = writing(context)
    with ledger.transaction() as reader:
        if find_job(reader, job) is None:
            raise _unknown(job)
    return ledger


def _unknown(job: str) -> Exception:
    return not_found(f"no job is called {job!r}")
