"""How long things took: exact quantiles to the second, and a histogram, from one query."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from storage.ledger import Transaction

BOUNDS_SECONDS: Final = (
    60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 64_800, 86_400,
)  # fmt: skip
"""The edges of the histogram: fine where batches usually end, and up to their 24 hours."""


def distribution(reader: Transaction, durations: str, *parameters: object) -> dict[str, Any]:
    """Return count, quantiles and histogram of what a query yields as `seconds` (BIGINT).

    `buckets` have `from_seconds`, `to_seconds` (None: no end) and `count`.
    """
    edges = [0, *BOUNDS_SECONDS, None]
    columns = ", ".join(
        f"coalesce(sum(n) FILTER (WHERE {_between(low, high)}), 0)::BIGINT AS b{number}"
        for number, (low, high) in enumerate(pairwise(edges))
    )
    # Counted by whole seconds first: sorting each of a million durations takes five times as long.
    found = reader.row(
        f"""
        WITH counted AS (SELECT seconds, count(*) AS n FROM ({durations}) GROUP BY seconds),
        ranked AS (SELECT seconds, n, sum(n) OVER (ORDER BY seconds) AS upto,
            sum(n) OVER () AS total FROM counted WHERE seconds IS NOT NULL)
        SELECT coalesce(sum(n), 0)::BIGINT AS count,
            min(seconds) FILTER (WHERE upto >= total * 0.5) AS p50_seconds,
            min(seconds) FILTER (WHERE upto >= total * 0.9) AS p90_seconds,
            min(seconds) FILTER (WHERE upto >= total * 0.99) AS p99_seconds, {columns}
        FROM ranked
        """,
        *parameters,
    ) or {}  # fmt: skip
    counts = [found.pop(f"b{number}") for number in range(len(edges) - 1)]
    return found | {"buckets": _histogram(edges, counts)}


def _histogram(edges: Sequence[int | None], counts: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"from_seconds": low, "to_seconds": high, "count": count}
        for (low, high), count in zip(pairwise(edges), counts, strict=True)
    ]


def _between(low: int | None, high: int | None) -> str:
    lower = f"seconds >= {low}" if low else "true"
    return lower if high is None else f"{lower} AND seconds < {high}"
