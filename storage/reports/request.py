"""One request with everything a page shows of it."""

from collections.abc import Sequence
from typing import Any, Final

from batching.provider import TokenUsage
from batching.wire import RequestRef, decode_wire_id
from storage.ledger import Transaction
from storage.reports.batch import why_it_waits
from storage.reports.terms import Terms
from storage.request_filter import Condition
from storage.request_queries import NEWEST_FIRST, requests_under

_BATCH: Final = (
    "SELECT batch_id, state, provider_id, provider_status, planned_at, submitted_at, "
    "in_progress_at, ended_at, finished_at FROM batches WHERE batch_id = ?"
)
_DELIVERIES: Final = """
SELECT delivery_id, result_id, state, deliveries.created_at, attempts, next_attempt_at, outcome,
    deliveries.problem, finished_at, target, destinations.disabled_at,
    destinations.disabled_because, paused_at, open_until
FROM deliveries JOIN destinations USING (destination_id) LEFT JOIN targets USING (target)
WHERE segment = ? AND row_index = ? ORDER BY delivery_id
"""
_ATTEMPTS: Final = """
SELECT delivery_id, number, attempted_at, outcome, status_code, duration_milliseconds, excerpt
FROM attempts WHERE list_contains(?::BIGINT[], delivery_id)
ORDER BY attempted_at, number LIMIT 1000
"""
_LANE: Final = """
SELECT wait_reason, wait_detail, waiting_since, backoff_until, lanes.paused, trouble,
    jobs.paused AS job_paused, jobs.max_wait_seconds
FROM requests JOIN lanes USING (lane_id) JOIN jobs USING (job_id) LEFT JOIN accounts USING (account)
WHERE segment = ? AND row_index = ?
"""
_MOST_EARLIER: Final = 30


def place_of(reader: Transaction, request_id: str) -> RequestRef | None:
    """Return the segment and row that an id of a request speaks of; None if it is no such id."""
    installation = str(reader.value("SELECT value FROM meta WHERE key = 'installation'"))
    return decode_wire_id(installation, request_id)


def places_of(reader: Transaction, request_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Return the segments and rows of requests by their ids; what is no id is left out."""
    found = [place_of(reader, request_id) for request_id in request_ids]
    return [(ref.segment, ref.row) for ref in found if ref is not None]


def request_report(reader: Transaction, request_id: str, *, terms: Terms) -> dict[str, Any] | None:
    """Return one request in full; None if there is none.

    Beside what a list shows: `usage` and `cost_usd` (None where it is not known), its `batch`,
    its `deliveries` (oldest first, each with `attempts`), the file `part` that holds its result,
    `earlier_results` (ids), `retried` (when and by whom), and `waiting`.
    """
    ref = place_of(reader, request_id)
    if ref is None:
        return None
    place = (ref.segment, ref.row)
    here = Condition().also("requests.segment = ? AND requests.row_index = ?", *place)
    found = requests_under(reader, here, order=NEWEST_FIRST, most=1)
    if not found:
        return None
    request = found[0]
    deliveries = _deliveries(reader, place)
    retried = _retried(reader, request)
    return request | _usage(reader, request, terms) | {
        "batch": reader.row(_BATCH, request["batch_id"]) if request["batch_id"] else None,
        "deliveries": deliveries,
        "part": _part(reader, request),
        "recorded_at": reader.value(
            "SELECT recorded_at FROM results WHERE result_id = ?", request["result_id"]
        ),
        "retried": retried,
        "earlier_results": _earlier_results(reader, request, deliveries) if retried else [],
        "waiting": _waiting(reader, request, terms),
    }  # fmt: skip


def _deliveries(reader: Transaction, place: tuple[int, int]) -> list[dict[str, Any]]:
    deliveries = reader.rows(_DELIVERIES, *place)
    attempts = reader.rows(_ATTEMPTS, [one["delivery_id"] for one in deliveries])
    for one in deliveries:
        one["tries"] = [try_ for try_ in attempts if try_["delivery_id"] == one["delivery_id"]]
    return deliveries


def _usage(reader: Transaction, request: dict[str, Any], terms: Terms) -> dict[str, Any]:
    tokens = reader.row(
        "SELECT input_tokens, cached_tokens, output_tokens, reasoning_tokens FROM requests "
        "WHERE segment = ? AND row_index = ?",
        request["segment"], request["row_index"],
    ) or {}  # fmt: skip
    known = tokens.get("input_tokens") is not None and tokens.get("output_tokens") is not None
    usage = TokenUsage(**{name: count or 0 for name, count in tokens.items()}) if known else None
    prices = terms.prices
    return tokens | {
        "cost_usd": prices.cost_usd(request["model"], usage),
        "synchronous_usd": prices.cost_usd(request["model"], usage, batch=False),
        "prices_as_of": prices.as_of,
    }


def _part(reader: Transaction, request: dict[str, Any]) -> dict[str, Any] | None:
    if request["kind"] != "file" or request["result_id"] is None:
        return None
    return reader.row(
        "SELECT state, created_at, attempts, next_attempt_at, problem, folder, file, delivered_at "
        "FROM parts WHERE job_id = ? AND result_id = ?",
        request["job_id"], request["result_id"],
    )  # fmt: skip


def _retried(reader: Transaction, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return when requests of its job, or chosen ones, were sent again since it came in."""
    return reader.rows(
        "SELECT happened_at, actor, reason FROM transitions WHERE target = 'retried' "
        "AND happened_at >= ?::TIMESTAMP AND (entity <> 'job' OR entity_id = ?) "
        "ORDER BY happened_at LIMIT 100",
        request["created_at"], request["job"],
    )  # fmt: skip


def _earlier_results(
    reader: Transaction, request: dict[str, Any], deliveries: Sequence[dict[str, Any]]
) -> list[int]:
    """Return the results, newest first, that may hold an earlier answer to the request."""
    rows = reader.rows(
        "SELECT DISTINCT result_id FROM parts WHERE job_id = ? ORDER BY result_id DESC LIMIT ?",
        request["job_id"], _MOST_EARLIER,
    )  # fmt: skip
    known = {row["result_id"] for row in rows} | {one["result_id"] for one in deliveries}
    return sorted(known - {request["result_id"]}, reverse=True)


def _waiting(reader: Transaction, request: dict[str, Any], terms: Terms) -> dict[str, Any] | None:
    """Return why it stands: what is known `of` its batch, or of its lane before there is one."""
    if request["state"] == "batched" and request["batch_id"] is not None:
        batch = why_it_waits(reader, request["batch_id"], terms=terms)
        return None if batch is None else {"of": "batch", **batch}
    if request["state"] != "pending":
        return None
    lane = reader.row(_LANE, request["segment"], request["row_index"]) or {}
    longest = lane.pop("max_wait_seconds", None)
    if longest is None:
        longest = terms.settings.batch_max_wait_seconds
    return {"of": "lane", "max_wait_seconds": longest, **lane}
