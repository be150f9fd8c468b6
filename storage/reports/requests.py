"""The requests page: a page, its count and the counts of its tabs, all from one reader."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from batching.errors import BadInput
from batching.lifecycle import RequestState
from storage.ledger import Transaction
from storage.reports.paging import PageChoice
from storage.request_filter import (
    DELIVERY_RANK,
    Condition,
    RequestFilter,
    condition_of,
    rank_of,
)
from storage.request_queries import requests_under

_LANE: Final = "(SELECT {column} FROM lanes WHERE lanes.lane_id = requests.lane_id)"
SORTS: Final[Mapping[str, tuple[str, ...]]] = {
    "created": (),
    "updated": ("coalesce(requests.finished_at, requests.accepted_at)",),
    "custom_id": ("requests.custom_id",),
    "state": ("requests.state",),
    "job": ("(SELECT name FROM jobs WHERE jobs.job_id = requests.job_id)",),
    "batch": ("requests.batch_id",),
    "endpoint": (_LANE.format(column="endpoint"),),
    "model": (_LANE.format(column="model"),),
    "tokens": ("requests.tokens",),
    "bytes": ("requests.wire_bytes",),
    "attempts": ("requests.attempts",),
    "delivery": (DELIVERY_RANK,),
    "error_code": ("requests.error_code",),
}
"""What the page can be sorted by; equal ones stand in the order in which they came in."""
_WHEN_FOUND: Final = {"delivery": (rank_of("coalesce(deliveries.state, parts.state)"),)}
_PLACE: Final = ("requests.segment", "requests.row_index")

Place = tuple[int, int]
"""Segment and row of a request: a larger one came in later."""


def requests_view(
    reader: Transaction,
    wanted: RequestFilter,
    choice: PageChoice,
    *,
    newest: Place | None = None,
) -> dict[str, Any]:
    """Return `rows` of one page, their `count`, the counts by `states`, and the `newest` place.

    The states are counted under the rest of the filter. With the `newest` of an earlier answer,
    later requests are left out, so that the page stands still; `newer_requests` counts them.
    """
    states = _states(reader, _up_to(condition_of(replace(wanted, state=None)), newest))
    rows = requests_under(
        reader, _up_to(condition_of(wanted), newest), order=_order(choice, SORTS),
        order_when_found=_order(choice, {**SORTS, **_WHEN_FOUND}),
        most=choice.limit, offset=choice.offset,
    )  # fmt: skip
    count = states.get(wanted.state, 0) if wanted.state else sum(states.values())
    return {
        "rows": rows,
        "count": count,
        "states": states,
        "newest": newest or newest_place(reader),
    }


def newer_requests(reader: Transaction, wanted: RequestFilter, newest: Place | None) -> int:
    """Return how many requests under the filter came in after this place."""
    condition = condition_of(wanted)
    if newest is not None:
        # The segment alone as well: whole blocks of earlier ones are passed over unread.
        condition = condition.also("requests.segment >= ?", newest[0])
        condition = condition.also("(requests.segment, requests.row_index) > (?, ?)", *newest)
    return int(
        reader.value(f"SELECT count(*) FROM requests WHERE {condition.sql}", *condition.parameters)
    )


def newest_place(reader: Transaction) -> Place | None:
    """Return the place of the request that came in last, None if there is none."""
    found = reader.row(
        "SELECT segment, max(row_index) AS row_index FROM requests "
        "WHERE segment = (SELECT max(segment) FROM requests) GROUP BY segment"
    )
    return None if found is None else (found["segment"], found["row_index"])


def request_choices(reader: Transaction) -> dict[str, list[str]]:
    """Return what the filter can be set to: jobs (newest first), models, endpoints, targets."""
    return {
        "jobs": _names(reader, "SELECT name FROM jobs ORDER BY job_id DESC LIMIT 1000"),
        "models": _names(reader, "SELECT DISTINCT model FROM lanes ORDER BY model"),
        "endpoints": _names(reader, "SELECT DISTINCT endpoint FROM lanes ORDER BY endpoint"),
        "targets": _names(
            reader, "SELECT DISTINCT target FROM destinations ORDER BY target LIMIT 1000"
        ),
    }


def _names(reader: Transaction, sql: str) -> list[str]:
    return [next(iter(row.values())) for row in reader.rows(sql)]


def _states(reader: Transaction, condition: Condition) -> dict[str, int]:
    rows = reader.rows(
        f"SELECT state, count(*) AS requests FROM requests WHERE {condition.sql} GROUP BY state",
        *condition.parameters,
    )
    found = {row["state"]: row["requests"] for row in rows}
    return {state.value: found.get(state.value, 0) for state in RequestState}


def _up_to(condition: Condition, newest: Place | None) -> Condition:
    if newest is None:
        return condition
    return condition.also("(requests.segment, requests.row_index) <= (?, ?)", *newest)


def _order(choice: PageChoice, sorts: Mapping[str, tuple[str, ...]]) -> str:
    name = choice.sort or "created"
    if name not in sorts:
        raise BadInput(f"cannot be sorted by {name!r}; known are {', '.join(SORTS)}")
    direction = "DESC" if choice.descending else "ASC"
    return ", ".join(f"{column} {direction} NULLS LAST" for column in (*sorts[name], *_PLACE))
