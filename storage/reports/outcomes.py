"""What became of requests: over time, by error, and how long it took."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from storage.ledger import Transaction
from storage.reports.buckets import Span

OUTCOMES: Final = (
    "delivered", "delivering", "processing", "pending", "delivery_failed", "failed", "cancelled",
)  # fmt: skip
"""Each request is in exactly one: a failed one in `failed`, whether its error is delivered or not;
a delivery that was given up counts as `delivery_failed`."""
RESULT_BOUNDS_SECONDS: Final = (
    60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 64_800, 86_400,
)  # fmt: skip

_OUTCOME: Final = """
CASE requests.state WHEN 'pending' THEN 'pending' WHEN 'batched' THEN 'processing'
    WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'cancelled'
    ELSE CASE coalesce(pushed.state, part.state) WHEN 'pending' THEN 'delivering'
        WHEN 'exhausted' THEN 'delivery_failed' WHEN 'cancelled' THEN 'delivery_failed'
        ELSE 'delivered' END END
"""
# Only what is not delivered is joined: that is little, and what is delivered may be millions.
_WITH_DELIVERY: Final = """
requests LEFT JOIN (
    SELECT segment, row_index, result_id, state FROM deliveries WHERE state <> 'delivered'
) AS pushed ON pushed.segment = requests.segment AND pushed.row_index = requests.row_index
    AND pushed.result_id = requests.result_id
LEFT JOIN (SELECT job_id, result_id, state FROM parts WHERE state <> 'delivered') AS part
    ON part.job_id = requests.job_id AND part.result_id = requests.result_id
    AND requests.destination_id = 0
"""


def outcomes_over_time(reader: Transaction, *, span: Span) -> list[dict[str, Any]]:
    """Return for each piece of time what became of the requests that were accepted in it."""
    counts = ", ".join(f"count(*) FILTER (WHERE outcome = '{name}') AS {name}" for name in OUTCOMES)
    rows = reader.rows(
        f"SELECT bucket, {counts} FROM ("
        f"SELECT {span.bucket_of('accepted_at')} AS bucket, {_OUTCOME} AS outcome "
        f"FROM {_WITH_DELIVERY} "
        "WHERE accepted_at >= $1::TIMESTAMP AND accepted_at < $2::TIMESTAMP) GROUP BY bucket",
        span.since, span.until,
    )  # fmt: skip
    return span.filled(rows, dict.fromkeys(OUTCOMES, 0))


def time_to_result(reader: Transaction, *, since: datetime, until: datetime) -> dict[str, Any]:
    """Return how long requests that ended in this time took from acceptance to their end.

    `buckets` have `from_seconds`, `to_seconds` (None: no end) and `requests`. Cancelled requests
    are left out: nobody waited for them.
    """
    edges = [0, *RESULT_BOUNDS_SECONDS, None]
    columns = ", ".join(
        f"count(*) FILTER (WHERE {_between('seconds', low, high)}) AS b{number}"
        for number, (low, high) in enumerate(pairwise(edges))
    )
    found = reader.row(
        f"SELECT count(*) AS requests, quantile_cont(seconds, [0.5, 0.9, 0.99]) AS shares, "
        f"{columns} FROM (SELECT epoch_us(finished_at - accepted_at) / 1e6 AS seconds "
        "FROM requests WHERE state IN ('succeeded', 'failed') "
        "AND finished_at >= ?::TIMESTAMP AND finished_at < ?::TIMESTAMP)",
        since, until,
    ) or {}  # fmt: skip
    p50, p90, p99 = found["shares"] or (None, None, None)
    return {
        "requests": found["requests"],
        "p50_seconds": p50,
        "p90_seconds": p90,
        "p99_seconds": p99,
        "buckets": histogram(edges, [found[f"b{number}"] for number in range(len(edges) - 1)]),
    }


def failures_by_code(
    reader: Transaction, *, since: datetime, until: datetime, most: int = 12
) -> list[dict[str, Any]]:
    """Return the failed requests of this time by error code, the most frequent first."""
    return reader.rows(
        "SELECT coalesce(error_code, 'unknown') AS error_code, count(*) AS requests "
        "FROM requests WHERE state = 'failed' AND finished_at >= ?::TIMESTAMP "
        "AND finished_at < ?::TIMESTAMP GROUP BY ALL ORDER BY requests DESC, error_code LIMIT ?",
        since, until, most,
    )  # fmt: skip


def histogram(edges: Sequence[float | None], counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return the counts with the edges that they lie between."""
    return [
        {"from_seconds": edges[number], "to_seconds": edges[number + 1], "requests": count}
        for number, count in enumerate(counts)
    ]


def _between(column: str, low: float | None, high: float | None) -> str:
    lower = f"{column} >= {low}" if low else f"{column} IS NOT NULL"
    return lower if high is None else f"{lower} AND {column} < {high}"
