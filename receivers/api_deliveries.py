"""Deliveries and destinations over REST: what waits, what failed, and why."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from batching.deliveries import Outcome
from batching.destinations import shown_config
from batching.lifecycle import DeliveryState
from receivers.context import WebContext, web_context
from receivers.paging import BigNumber, Cursor, Limit, Word, decode_cursor, not_found, page, reading
from receivers.views import ERRORS, Page
from storage.delivery_queries import deliveries_page, delivery_named, destinations_report
from storage.request_queries import attempts_of

router = APIRouter(tags=["deliveries"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]


@router.get("/api/deliveries", response_model=Page)
def list_deliveries(
    *,
    context: Context,
    state: DeliveryState | None = None,
    outcome: Outcome | None = None,
    target: Word = None,
    job: Word = None,
    limit: Limit = 100,
    after: Cursor = None,
) -> dict[str, Any]:
    """Return deliveries, the newest first."""
    place = decode_cursor(after, name="after", numbers=1)
    before = place[0] if place else None
    with reading(context) as reader:
        rows = (
            deliveries_page(
                reader, state=state, outcome=outcome, target=target, job=job, before=before,
                most=limit + 1,
            )
            if reader
            else []
        )  # fmt: skip
    return page([_shown(row) for row in rows], limit, "id")


@router.get("/api/deliveries/{delivery_id}")
def show_delivery(context: Context, delivery_id: BigNumber) -> dict[str, Any]:
    """Return a delivery with its attempts, the newest first."""
    with reading(context) as reader:
        found = delivery_named(reader, delivery_id) if reader else None
        tried = attempts_of(reader, delivery_id) if reader else []
    if found is None:
        raise not_found(f"there is no delivery {delivery_id}")
    return _shown(found) | {"attempt_count": found["attempts"], "attempts": tried}


@router.get("/api/destinations", response_model=Page)
def list_destinations(context: Context) -> dict[str, Any]:
    """Return the destinations with what waits for them and how they answer."""
    with reading(context) as reader:
        rows = destinations_report(reader) if reader else []
    return {"items": [_shown(row) for row in rows], "next": None}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"delivery_config": shown_config(row["delivery_config"])}
