"""Bringing results again over REST, giving deliveries up, and enabling destinations."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from receivers.answers import api_error
from receivers.context import WebContext, actor, web_context
from receivers.job_addresses import JobRoute
from receivers.paging import BigNumber, Moment, Name, Number, Text, Word, not_found, writing
from receivers.views import ERRORS
from storage.batch_queries import batch_exists
from storage.delivery_queries import delivery_named, destinations_report
from storage.jobs import find_job
from storage.redelivery import Selection, cancel_deliveries, enable_destination, redeliver
from storage.request_queries import requests_named

router = APIRouter(tags=["deliveries"], responses=ERRORS, route_class=JobRoute)
Context = Annotated[WebContext, Depends(web_context)]
Actor = Annotated[str, Depends(actor)]
_Word = Annotated[Text | None, Field(max_length=2_000)]


class Chosen(BaseModel):
    """Which deliveries are meant: those for which everything holds that is given."""

    model_config = ConfigDict(extra="forbid")

    job: _Word = None
    batch: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    target: _Word = None
    since: Moment | None = None
    until: Moment | None = None
    failed_only: bool = False


class Deliveries(BaseModel):
    """How many deliveries an action touched."""

    deliveries: int


@router.post("/api/requests/{custom_id:path}/redeliver", status_code=202)
def redeliver_request(
    context: Context, who: Actor, custom_id: Name, job: Word = None
) -> dict[str, Any]:
    """Bring the result of a request again."""
    ledger = writing(context)
    with ledger.transaction() as reader:
        found = requests_named(reader, custom_id, job=job)
    if not found:
        raise not_found(f"no request has the id {custom_id!r}", title="Request Not Found")
    if len(found) > 1:
        raise api_error(
            409, "ambiguous_custom_id", "Multiple Requests Found", "name the job with ?job="
        )
    request = found[0]
    if request["delivery_id"] is None:
        detail = f"the request {custom_id!r} has no result that is pushed anywhere"
        raise api_error(422, "invalid_state", "Invalid State", detail)
    only = Selection(delivery_ids=[request["delivery_id"]])
    redeliver(ledger, only, failed_only=False, actor=who)
    told = {name: request[name] for name in ("id", "custom_id", "state")}
    return told | {"message": "Redelivery triggered"}


@router.post("/api/jobs/{job:path}/redeliver", status_code=202)
def redeliver_job(context: Context, who: Actor, job: Name) -> Deliveries:
    """Bring all results of a job again."""
    return _again(context, Selection(job=job), who, failed_only=False)


@router.post("/api/jobs/{job:path}/redeliver-failed", status_code=202)
def redeliver_failed_of_job(context: Context, who: Actor, job: Name) -> Deliveries:
    """Bring those results of a job again whose deliveries failed for good."""
    return _again(context, Selection(job=job), who, failed_only=True)


@router.post("/api/batches/{batch_id}/redeliver", status_code=202)
def redeliver_batch(context: Context, who: Actor, batch_id: Number) -> Deliveries:
    """Bring all results of a batch again."""
    return _again(context, Selection(batch=batch_id), who, failed_only=False)


@router.post("/api/batches/{batch_id}/redeliver-failed", status_code=202)
def redeliver_failed_of_batch(context: Context, who: Actor, batch_id: Number) -> Deliveries:
    """Bring those results of a batch again whose deliveries failed for good."""
    return _again(context, Selection(batch=batch_id), who, failed_only=True)


@router.post("/api/deliveries/redeliver", status_code=202)
def redeliver_chosen(context: Context, who: Actor, chosen: Chosen) -> Deliveries:
    """Bring again what is chosen; refused if that would be everything."""
    if not chosen.model_dump(exclude_defaults=True):
        detail = "say which: job, batch, target, since, until, or failed_only"
        raise api_error(422, "nothing_chosen", "Invalid Request", detail)
    selection = Selection(**chosen.model_dump(exclude={"failed_only"}))
    return _again(context, selection, who, failed_only=chosen.failed_only)


@router.post("/api/deliveries/{delivery_id}/cancel", status_code=202)
def cancel(context: Context, who: Actor, delivery_id: BigNumber) -> Deliveries:
    """Give a delivery up that waits."""
    ledger = writing(context)
    with ledger.transaction() as reader:
        if delivery_named(reader, delivery_id) is None:
            raise not_found(f"there is no delivery {delivery_id}")
    count = cancel_deliveries(ledger, Selection(delivery_ids=[delivery_id]), actor=who)
    return Deliveries(deliveries=count)


@router.post("/api/destinations/{destination_id}/enable", status_code=202)
def enable(context: Context, who: Actor, destination_id: Number) -> Deliveries:
    """Let the target of a destination be called again, now."""
    ledger = writing(context)
    with ledger.transaction() as reader:
        targets = {row["id"]: row["target"] for row in destinations_report(reader)}
    if destination_id not in targets:
        raise not_found(f"there is no destination {destination_id}")
    return Deliveries(deliveries=enable_destination(ledger, targets[destination_id], actor=who))


def _again(context: WebContext, selection: Selection, who: str, *, failed_only: bool) -> Deliveries:
    ledger = writing(context)
    with ledger.transaction() as reader:
        if selection.job is not None and find_job(reader, selection.job) is None:
            raise not_found(f"no job is called {selection.job!r}")
        if selection.batch is not None and not batch_exists(reader, selection.batch):
            raise not_found(f"there is no batch {selection.batch}")
    count = redeliver(ledger, selection, failed_only=failed_only, actor=who)
    return Deliveries(deliveries=count)
