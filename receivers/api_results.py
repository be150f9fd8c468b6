"""The pull door: every result once, in the order in which results were recorded."""

import time
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from receivers.context import WebContext, web_context
from receivers.paging import Cursor, Limit, Word, decode_cursor, encode_cursor, reading
from receivers.views import ERRORS, NDJSON
from storage.result_feed import FeedResult, last_sequence, results_after

router = APIRouter(tags=["results"], responses=ERRORS)
_DISCONNECTED_SECONDS: Final = 2.0
"""So often somebody who waits is looked after: who went away is not waited for."""
_LONGEST_WAIT_SECONDS: Final = 60.0


@router.get("/api/results", response_class=Response, responses={200: {"content": {NDJSON: {}}}})
async def pull_results(
    *,
    request: Request,
    context: Annotated[WebContext, Depends(web_context)],
    after: Cursor = None,
    limit: Limit = 100,
    wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT_SECONDS)] = 0.0,
    job: Word = None,
) -> Response:
    """Return results behind the cursor as NDJSON, each line with its own cursor.

    The header X-Obm-Next-Cursor has the last one, or the given one if there is nothing new.
    With `wait` the answer comes as soon as there is a result, or after so many seconds.
    """
    place = decode_cursor(after, name="after", numbers=2)
    start = (place[0], place[1]) if place else (0, -1)
    until = time.monotonic() + wait
    found, seen = await run_in_threadpool(_look, context, start, limit, job)
    while not found and (left := until - time.monotonic()) > 0 and not context.results.is_stopped:
        slice_seconds = min(left, _DISCONNECTED_SECONDS)
        recorded = await context.results.wait_beyond(seen, seconds=slice_seconds)
        if recorded > seen:
            seen = recorded
            async with context.results.looks:
                found, _ = await run_in_threadpool(_look, context, start, limit, job)
        elif await request.is_disconnected():
            break
    last = encode_cursor(found[-1].sequence, found[-1].row) if found else encode_cursor(*start)
    return Response(
        b"".join(map(_line, found)), media_type=NDJSON, headers={"X-Obm-Next-Cursor": last}
    )


def _look(
    context: WebContext, start: tuple[int, int], limit: int, job: str | None
) -> tuple[list[FeedResult], int]:
    """Return what is behind the place, and the end of the feed as it was then."""
    with reading(context) as reader:
        if reader is None:
            return [], 0
        found = results_after(context.directory, reader, start, most=limit, job=job)
        return found, last_sequence(reader)


def _line(found: FeedResult) -> bytes:
    head = {"cursor": encode_cursor(found.sequence, found.row), "job": found.job}
    known = msgspec.json.encode(head | {"custom_id": found.custom_id})
    return b'%b,"result":%b}\n' % (known[:-1], found.line)
