"""The results of a job over REST, as one answer of any length: lines, or a Parquet file."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from typing import Annotated, Final

import polars as pl
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse

from batching.jobs import slug
from receivers.context import WebContext, web_context
from receivers.job_addresses import JobRoute
from receivers.paging import Name, not_found, reading
from receivers.views import ERRORS, NDJSON, PARQUET
from storage.jobs import find_job
from storage.result_streams import Look, answered_after, result_lines, result_parquet

_BLOCK_BYTES: Final = 256_000
router = APIRouter(tags=["jobs"], responses=ERRORS, route_class=JobRoute)


class ResultFormat(StrEnum):
    """What the results come as."""

    NDJSON = "ndjson"
    PARQUET = "parquet"


_CONTENT: Final = {NDJSON: {}, PARQUET: {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/api/jobs/{job:path}/results", response_class=Response, responses={200: {"content": _CONTENT}}
)
def stream_results(
    context: Annotated[WebContext, Depends(web_context)],
    job: Name,
    format: Annotated[  # noqa: A002 - the name of the parameter in the address
        ResultFormat, Query(description="`parquet` has the columns of `parts/` in the outbox")
    ] = ResultFormat.NDJSON,
) -> Response:
    """Stream the results that are there by now, in input order."""
    with reading(context) as reader:
        job_id = find_job(reader, job) if reader else None
    if job_id is None:
        raise not_found(f"no job is called {job!r}")
    look = _look_of(context, job_id)
    if format is ResultFormat.PARQUET:
        pieces = result_parquet(context.directory, look)
        headers = {"Content-Disposition": f'attachment; filename="{slug(job)}.parquet"'}
        return StreamingResponse(_begun(pieces), media_type=PARQUET, headers=headers)
    blocks = _blocks(result_lines(context.directory, look))
    return StreamingResponse(_begun(blocks), media_type=NDJSON)


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines in blocks: sent one by one they would cost a change of threads each."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Return the pieces; a missing result file is told now, before the answer begins."""
    first = next(pieces, None)
    return pieces if first is None else chain((first,), pieces)


def _look_of(context: WebContext, job_id: int) -> Look:
    def look(segment: int, row_index: int) -> pl.DataFrame:
        with reading(context) as reader:
            if reader is None:
                raise not_found("the ledger is gone")
            return answered_after(reader, job_id, segment, row_index)

    return look
