"""Requests over REST: one by its id with its result, many by filters, and cancelling one."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from xxhash import xxh3_64_intdigest

from batching.destinations import shown_config
from batching.jobs import DEFAULT_JOB
from batching.lifecycle import DeliveryState, RequestState
from receivers.answers import api_error
from receivers.context import WebContext, actor, web_context
from receivers.paging import (
    Cursor,
    Limit,
    Name,
    NumberFilter,
    Since,
    Word,
    decode_cursor,
    not_found,
    page,
    reading,
    writing,
)
from receivers.views import ERRORS, Accepted, Page
from storage.request_actions import cancel_request
from storage.request_filter import RequestFilter
from storage.request_queries import (
    attempts_of,
    requests_named,
    requests_page,
    result_of,
)

router = APIRouter(tags=["requests"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
Actor = Annotated[str, Depends(actor)]
_PRIVATE: Final = ("segment", "row_index", "job_id", "result_id", "delivery_id")


@router.get("/api/requests", response_model=Page)
def list_requests(
    *,
    context: Context,
    state: RequestState | None = None,
    job: Word = None,
    model: Word = None,
    endpoint: Word = None,
    destination: Word = None,
    delivery_state: DeliveryState | None = None,
    error_code: Word = None,
    batch_id: NumberFilter = None,
    custom_id: Annotated[Word, Query(description="how the custom_id begins")] = None,
    since: Since = None,
    until: Since = None,
    limit: Limit = 100,
    after: Cursor = None,
) -> dict[str, Any]:
    """Return requests that were taken in, the newest first."""
    place = decode_cursor(after, name="after", numbers=2)
    wanted = RequestFilter(
        state=state, job=job, model=model, endpoint=endpoint, destination=destination,
        delivery_state=delivery_state, error_code=error_code, batch_id=batch_id,
        custom_id_prefix=custom_id, since=since, until=until,
    )  # fmt: skip
    with reading(context) as reader:
        before = (place[0], place[1]) if place else None
        rows = requests_page(reader, wanted, before=before, most=limit + 1) if reader else []
    answer = page(rows, limit, "segment", "row_index")
    answer["items"] = [_shown(row) for row in answer["items"]]
    return answer


@router.get("/api/requests/{custom_id:path}", response_model=dict[str, Any])
def show_request(context: Context, custom_id: Name, job: Word = None) -> Response:
    """Return where a request stands, the attempts to deliver it, and its result."""
    with reading(context) as reader:
        found = requests_named(reader, custom_id, job=job) if reader else []
        if not found and _is_staged(context, custom_id, job):
            staged = {"custom_id": custom_id, "job": job or DEFAULT_JOB, "state": "staged"}
            return _json(staged | {"result": None})
        request = _only(found, custom_id)
        attempts = attempts_of(reader, request["delivery_id"]) if reader else []
    config = shown_config(request["delivery_config"])
    for attempt in attempts:
        attempt |= {
            "id": f"{request['delivery_id']}-{attempt['number']}",
            "delivery_config": config,
        }
    line, problem = result_of(context.directory, request)
    shown = _shown(request) | {"error_msg": problem, "delivery_attempts": attempts}
    return _json(shown | {"result": None if line is None else msgspec.Raw(line)})


@router.post("/api/requests/{custom_id:path}/cancel", status_code=202, response_model=Accepted)
def cancel(context: Context, who: Actor, custom_id: Name, job: Word = None) -> dict[str, Any]:
    """Cancel a request: at once if it waits, else at its batch's end unless its result comes."""
    ledger = writing(context)
    with ledger.transaction() as reader:
        request = _only(requests_named(reader, custom_id, job=job), custom_id)
    state = cancel_request(ledger, request, actor=who)
    if state is None:
        raise not_found(f"no request has the id {custom_id!r}", title="Request Not Found")
    if state in {RequestState.SUCCEEDED, RequestState.FAILED}:
        raise api_error(
            409, "invalid_state", "Invalid State", f"the request {custom_id!r} has {state}"
        )
    return {"state": state, "requests": 1}


def _is_staged(context: WebContext, custom_id: str, job: str | None) -> bool:
    id_hash = xxh3_64_intdigest(custom_id.encode())
    return context.known_ids.is_staged(job or DEFAULT_JOB, id_hash)


def _only(found: list[dict[str, Any]], custom_id: str) -> dict[str, Any]:
    if not found:
        raise not_found(f"no request has the id {custom_id!r}", title="Request Not Found")
    if len(found) > 1:
        jobs = ", ".join(repr(request["job"]) for request in found[:10])
        raise api_error(
            409, "ambiguous_custom_id", "Multiple Requests Found",
            f"the id {custom_id!r} exists in several jobs, name one with ?job=: {jobs}",
        )  # fmt: skip
    return found[0]


def _shown(request: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in request.items() if name not in _PRIVATE}
    return shown | {"delivery_config": shown_config(request["delivery_config"])}


def _json(content: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
