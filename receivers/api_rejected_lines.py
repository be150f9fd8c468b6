"""The lines of a job that were not accepted, over REST."""

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import Response, StreamingResponse

from batching.jobs import slug
from receivers.context import WebContext, web_context
from receivers.job_addresses import JobRoute
from receivers.paging import Name, not_found, reading
from receivers.views import ERRORS, NDJSON
from storage.directory import DataDirectory
from storage.jobs import find_job
from storage.refused_lines import RefusedLines, refused_lines, refused_of_job

_BLOCK_BYTES: Final = 256_000
router = APIRouter(tags=["jobs"], responses=ERRORS, route_class=JobRoute)


@router.get(
    "/api/jobs/{job:path}/rejected",
    response_class=Response,
    responses={200: {"content": {NDJSON: {}}}},
)
def stream_rejected(
    context: Annotated[WebContext, Depends(web_context)], job: Name
) -> StreamingResponse:
    """Stream the lines that were refused: file, number, code, reason and the text itself."""
    with reading(context) as reader:
        known = reader is not None and find_job(reader, job) is not None
        sources = refused_of_job(reader, job) if reader is not None else []
    if not known:
        raise not_found(f"no job is called {job!r}")
    headers = {"Content-Disposition": f'attachment; filename="{slug(job)}-rejected.jsonl"'}
    return StreamingResponse(
        _blocks(context.directory, sources), media_type=NDJSON, headers=headers
    )


def _blocks(directory: DataDirectory, sources: list[RefusedLines]) -> Iterator[bytes]:
    block = bytearray()
    for line in refused_lines(directory, sources):
        block += msgspec.json.encode(line) + b"\n"
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
