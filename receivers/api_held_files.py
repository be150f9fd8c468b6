"""Files that were sent with `hold`: what they would send and cost, then start or discard them."""

from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel

from batching.errors import DiskFull
from receivers.answers import storage_unavailable
from receivers.context import WebContext, actor, web_context
from receivers.paging import Name, Word, not_found
from receivers.queries import check_side_settings, json_of
from receivers.single_intake import paused
from receivers.views import ERRORS
from storage.held_actions import OpenLedger, discard_on_record, start_on_record
from storage.held_estimates import HeldEstimate
from storage.held_files import (
    HeldFile,
    StartedFile,
    held_file,
    held_files,
)
from storage.ledger import Ledger

router = APIRouter(tags=["intake"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
Actor = Annotated[str, Depends(actor)]


class HeldFileView(BaseModel):
    """A file that waits for a word."""

    held: str
    file: str
    bytes: int
    held_at: datetime
    job: str
    """The job that it would make or join."""
    earlier_job: str | None
    """The job that took in the same content before."""


class HeldFileList(BaseModel):
    """All files that wait."""

    items: list[HeldFileView]


class HeldFileReport(HeldFileView):
    """A file that waits, and what it would send."""

    read_bytes: int
    """How far it has been read for the estimate."""
    trouble: str | None
    """Why it cannot be estimated."""
    estimate: HeldEstimate | None
    """null until the file has been read to its end."""


class StartedFileView(BaseModel):
    """A file that is on its way."""

    file: str
    job: str
    bytes: int
    duplicate: bool


@router.get("/api/held-files")
def list_held_files(context: Context) -> HeldFileList:
    """Return the files that wait, the oldest first; after a day each is deleted."""
    return HeldFileList(items=[_view(held) for held in held_files(context.directory)])


@router.get("/api/held-files/{held}")
def show_held_file(context: Context, held: Name) -> HeldFileReport:
    """Return what a file would send and cost, or how far it has been read for that."""
    found = held_file(context.directory, held)
    if found is None:
        raise _unknown(held)
    estimate, reading = context.estimates.look(found)
    return HeldFileReport(
        **_view(found).model_dump(),
        read_bytes=min(reading.read_bytes, found.bytes),
        trouble=reading.trouble,
        estimate=estimate,
    )


@router.post("/api/held-files/{held}/start", status_code=202)
def start(
    context: Context,
    who: Actor,
    held: Name,
    *,
    again: Annotated[
        bool, Query(description="Take it in although its content was taken in before.")
    ] = False,
    job: Annotated[
        Word, Query(description="Settings that count before those it came with, as JSON.")
    ] = None,
) -> StartedFileView:
    """Take a file in: it goes into the inbox, as if it had been sent without `hold`."""
    side_settings = json_of({} if job is None else {"job": job}, "job") or {}
    check_side_settings(side_settings, context.rules.now(), parameter="job")
    if (pause := context.pause.now()) is not None:
        raise paused(pause)
    try:
        started = start_on_record(
            context.directory,
            held,
            again=again,
            actor=who,
            ledger=_ledger(context),
            side_settings=side_settings,
        )
    except (DiskFull, OSError) as error:
        raise storage_unavailable(error) from error
    if started is None:
        raise _unknown(held)
    return _started(started)


@router.delete("/api/held-files/{held}", status_code=204)
def discard(context: Context, who: Actor, held: Name) -> Response:
    """Delete a file that waits; nothing of it was taken in."""
    if not discard_on_record(context.directory, held, actor=who, ledger=_ledger(context)):
        raise _unknown(held)
    return Response(status_code=204)


def _ledger(context: WebContext) -> OpenLedger:
    memory_bytes = context.settings.ledger_memory_bytes
    return partial(Ledger.open, context.directory, memory_bytes=memory_bytes)


def _view(held: HeldFile) -> HeldFileView:
    return HeldFileView(
        held=held.held, file=held.file, bytes=held.bytes, held_at=held.held_at, job=held.job,
        earlier_job=held.earlier_job,
    )  # fmt: skip


def _started(started: StartedFile) -> StartedFileView:
    return StartedFileView(
        file=started.file, job=started.job, bytes=started.bytes, duplicate=started.duplicate
    )


def _unknown(held: str) -> Exception:
    return not_found(
        f"no file waits under the id {held!r}: it was started, discarded, or forgotten"
    )
