"""The calls about batches."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from simulator.api_errors import BAD_REQUEST, ApiError, json_response, not_found
from simulator.batch_creation import new_batch
from simulator.calls import read_json_object
from simulator.create_faults import answer_create, refuse_create
from simulator.inspection import first_model
from simulator.limits import ACTIVE_STATUSES
from simulator.paging import list_object, page_limit
from simulator.records import batch_object

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from simulator.batch_store import StoredBatch
    from simulator.parts import Parts

DEFAULT_PAGE = 20
LONGEST_PAGE = 100


async def create_batch(parts: Parts, request: Request, account: str) -> Response:
    """Take on a batch; its file is checked later."""
    batch = new_batch(parts, await read_json_object(request), account)
    model = first_model(parts.files.content(batch.input_file_id))
    scenarios = parts.scenarios.for_batch(model)
    batch = await refuse_create(parts, batch, scenarios)
    return await answer_create(parts, batch)


async def list_batches(parts: Parts, request: Request, account: str) -> Response:
    """List the batches of the account, newest first."""
    query = request.query_params
    limit = page_limit(query.get("limit"), default=DEFAULT_PAGE, longest=LONGEST_PAGE)
    found = parts.batches.newest_first(account, after=query.get("after"))
    listed = (each for each in found if not _is_unlisted(each))
    page = [_shown(each) for each in islice(listed, limit + 1)]
    return json_response(list_object(page, limit))


async def retrieve_batch(parts: Parts, request: Request, account: str) -> Response:
    """Show one batch."""
    stored = _find(parts, request, account)
    batch = stored.record
    vanished = batch.scenario("vanished")
    if vanished is not None and parts.scenarios.take(
        vanished.rule, f"{batch.id} 404", vanished.integer("polls")
    ):
        raise not_found("Batch", batch.id)
    shown = _shown(stored)
    odd = batch.scenario("unknown_status")
    if odd is not None and parts.scenarios.take(odd.rule, batch.id, odd.integer("polls")):
        shown["status"] = odd.text("status")
    return json_response(shown)


async def cancel_batch(parts: Parts, request: Request, account: str) -> Response:
    """Ask for the end of a batch."""
    stored = _find(parts, request, account)
    status = stored.record.status
    if status not in ACTIVE_STATUSES:
        message = f"Cannot cancel a batch with status '{status}'."
        raise ApiError(BAD_REQUEST, message, param="status", code="invalid_status")
    parts.batches.request_cancel(stored.record.id)
    parts.worker.wake()
    return json_response(_shown(_find(parts, request, account)))


def _find(parts: Parts, request: Request, account: str) -> StoredBatch:
    batch_id = request.path_params["batch_id"]
    stored = parts.batches.find(batch_id, account)
    if stored is None:
        raise not_found("Batch", batch_id)
    return stored


def _is_unlisted(stored: StoredBatch) -> bool:
    vanished = stored.record.scenario("vanished")
    return vanished is not None and not vanished.flag("listed") and not vanished.integer("polls")


def _shown(stored: StoredBatch) -> dict[str, Any]:
    """Return a batch as the client sees it, with what scenarios hide or twist."""
    batch = stored.record
    shown = batch_object(batch)
    if stored.cancel_requested_at is not None and batch.status in ACTIVE_STATUSES:
        shown["status"] = "cancelling"
        shown["cancelling_at"] = stored.cancel_requested_at
    without = batch.scenario("no_usage")
    if without is not None and without.text("where") != "lines":
        shown["usage"] = None
    counts = batch.scenario("no_counts")
    if counts is not None and counts.text("as") == "absent":
        del shown["request_counts"]
    elif counts is not None:
        shown["request_counts"] = None
    if batch.scenario("empty_error_file_id") is not None and shown["error_file_id"] is None:
        shown["error_file_id"] = ""
    return shown
