"""What a page shows, as a file: streamed, so that its size costs no memory."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from batching.lifecycle import DeliveryState, RequestState
from receivers.context import WebContext, web_context
from receivers.paging import NumberFilter, Since, Word, not_found, reading
from receivers.views import ERRORS
from storage.reports.request_export import as_csv, as_parquet, request_pieces
from storage.request_filter import RequestFilter

router = APIRouter(tags=["requests"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
_FORMATS: Final = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "parquet": (as_parquet, "application/vnd.apache.parquet"),
}
_DOCUMENTED: Final = {
    media.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
    for _, media in _FORMATS.values()
}


@router.get(
    "/api/export/requests",
    response_class=StreamingResponse,
    responses={200: {"content": _DOCUMENTED}},
)
def export_requests(
    *,
    context: Context,
    format: Annotated[Literal["csv", "parquet"], Query()] = "csv",  # noqa: A002 - its name in the query
    state: RequestState | None = None,
    job: Word = None,
    model: Word = None,
    endpoint: Word = None,
    destination: Word = None,
    target: Word = None,
    delivery_state: DeliveryState | None = None,
    error_code: Word = None,
    batch_id: NumberFilter = None,
    custom_id: Annotated[Word, Query(description="how the custom_id begins")] = None,
    custom_id_part: Annotated[Word, Query(description="what the custom_id holds")] = None,
    since: Since = None,
    until: Since = None,
) -> StreamingResponse:
    """Return all requests under the filter with their states, tokens and times, as one file."""
    wanted = RequestFilter(
        state=state, job=job, model=model, endpoint=endpoint, destination=destination,
        target=target, delivery_state=delivery_state, error_code=error_code, batch_id=batch_id,
        custom_id_prefix=custom_id, custom_id_part=custom_id_part, since=since, until=until,
    )  # fmt: skip
    if not context.directory.ledger.exists():
        raise not_found("nothing has been taken in here yet")
    name = f"requests-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{format}"
    return StreamingResponse(
        _begun(_content(context, wanted, format)),
        media_type=_FORMATS[format][1],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _content(context: WebContext, wanted: RequestFilter, kind: str) -> Iterator[bytes]:
    with reading(context) as reader:
        if reader is not None:
            yield from _FORMATS[kind][0](request_pieces(reader, wanted))


def _begun(content: Iterator[bytes]) -> Iterator[bytes]:
    """Return the content after its beginning was made: what is wrong shows before the answer."""
    first = next(content, b"")

    def all_of_it() -> Iterator[bytes]:
        yield first
        yield from content

    return all_of_it()
