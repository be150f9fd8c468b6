"""Batches over REST: what they are, their files, and what operators do to them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, Response

from batching.lifecycle import BatchState
from receivers.answers import api_error
from receivers.context import WebContext, actor, web_context
from receivers.paging import (
    Cursor,
    Limit,
    Number,
    Word,
    decode_cursor,
    not_found,
    page,
    reading,
    writing,
)
from receivers.views import ERRORS, NDJSON, Accepted, Page
from storage.batch_actions import (
    BatchAction,
    cancel_batch,
    flush_lane_of,
    forget_batch,
    restart_batch,
)
from storage.batch_files import FILE_KINDS
from storage.batch_queries import batch_in_full, batches_page

router = APIRouter(tags=["batches"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
Actor = Annotated[str, Depends(actor)]
Reason = Annotated[
    str | None, Query(max_length=500, description="Why: it stands in the audit trail.")
]


@router.get("/api/batches", response_model=Page)
def list_batches(
    context: Context,
    state: BatchState | None = None,
    model: Word = None,
    limit: Limit = 100,
    after: Cursor = None,
) -> dict[str, Any]:
    """Return batches, the newest first."""
    place = decode_cursor(after, name="after", numbers=1)
    before = None if place is None else min(place[0], 2**31 - 1)
    with reading(context) as reader:
        rows = (
            batches_page(reader, state=state, model=model, before=before, most=limit + 1)
            if reader
            else []
        )
    return page(rows, limit, "batch_id")


@router.get("/api/batches/{batch_id}")
def show_batch(context: Context, batch_id: Number) -> dict[str, Any]:
    """Return a batch with its counts, times, cost, faults and transitions."""
    with reading(context) as reader:
        found = batch_in_full(reader, batch_id) if reader else None
    if found is None:
        raise not_found(f"there is no batch {batch_id}")
    return found


@router.get(
    "/api/batches/{batch_id}/files/{kind}",
    response_class=Response,
    responses={200: {"content": {NDJSON: {}}}},
)
def download(
    context: Context, batch_id: Number, kind: Literal["input", "output", "error"]
) -> Response:
    """Return a file of a batch as it lies in the data directory."""
    path = FILE_KINDS[kind](context.directory, batch_id)
    if not path.is_file():
        raise not_found(f"the {kind} file of batch {batch_id} is not here (any more)")
    return FileResponse(path, media_type=NDJSON, filename=f"batch-{batch_id:06d}-{kind}.jsonl")


@router.post("/api/batches/{batch_id}/upload", status_code=202, response_model=Accepted)
def upload(context: Context, who: Actor, batch_id: Number) -> dict[str, Any]:
    """Let what waits in the lane of this batch go without filling up."""
    return _answer(flush_lane_of(writing(context), batch_id, actor=who), batch_id)


@router.post("/api/batches/{batch_id}/cancel", status_code=202, response_model=Accepted)
def cancel(context: Context, who: Actor, batch_id: Number, reason: Reason = None) -> dict[str, Any]:
    """Ask for the batch to be cancelled; results that are paid still arrive."""
    return _answer(cancel_batch(writing(context), batch_id, actor=who, reason=reason), batch_id)


@router.post("/api/batches/{batch_id}/restart", status_code=202, response_model=Accepted)
def restart(
    context: Context, who: Actor, batch_id: Number, reason: Reason = None
) -> dict[str, Any]:
    """Send again what failed with a failed batch; earlier results are kept."""
    return _answer(restart_batch(writing(context), batch_id, actor=who, reason=reason), batch_id)


@router.delete("/api/batches/{batch_id}", status_code=200, response_model=Accepted)
def delete(context: Context, who: Actor, batch_id: Number, reason: Reason = None) -> dict[str, Any]:
    """Delete the files of a batch that has ended, not its results."""
    return _answer(forget_batch(writing(context), batch_id, actor=who, reason=reason), batch_id)


def _answer(done: BatchAction | None, batch_id: int) -> dict[str, Any]:
    if done is None:
        raise not_found(f"there is no batch {batch_id}")
    if done.refusal is not None:
        raise api_error(409, "invalid_batch_state", "Invalid Batch State", done.refusal)
    return {"state": done.state, "requests": done.requests}
