"""Deliveries in figures, for those who watch the system from outside."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from storage.ledger import Transaction

QUANTILES: Final = (0.5, 0.95, 0.99)
WINDOW: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """How long something took for one kind of destination within the window."""

    kind: str
    count: int
    seconds: tuple[float, ...]
    """At each of `QUANTILES`."""


def attempts_by_outcome(reader: Transaction) -> dict[str, int]:
    """Return how many attempts of each outcome are kept."""
    rows = reader.rows("SELECT outcome, count(*) AS attempts FROM attempts GROUP BY outcome")
    return {row["outcome"]: row["attempts"] for row in rows}


def attempt_times(reader: Transaction, *, at: datetime) -> list[Times]:
    """Return how long the attempts of the last hour took."""
    return _times(
        reader,
        f"""
        SELECT kind, count(*) AS count,
            quantile_cont(duration_milliseconds / 1e3, {list(QUANTILES)}) AS seconds
        FROM attempts JOIN deliveries USING (delivery_id) JOIN destinations USING (destination_id)
        WHERE attempted_at >= ? GROUP BY kind ORDER BY kind
        """,
        at - WINDOW,
    )


def delivery_delays(reader: Transaction, *, at: datetime) -> list[Times]:
    """Return how long results of the last hour took from being recorded to being delivered."""
    return _times(
        reader,
        f"""
        SELECT kind, count(*) AS count, quantile_cont(
            greatest(0, epoch(finished_at - deliveries.created_at)), {list(QUANTILES)}) AS seconds
        FROM deliveries JOIN destinations USING (destination_id)
        WHERE state = 'delivered' AND finished_at >= ? GROUP BY kind ORDER BY kind
        """,
        at - WINDOW,
    )


def taken_in_by_role(reader: Transaction) -> list[dict[str, Any]]:
    """Return the requests that were ever taken in by who received them; null are dropped files."""
    return reader.rows(
        r"""
        SELECT nullif(regexp_extract(name, '^([a-z0-9_-]+)-\d{8}T\d{12}-.*\.obmlog$', 1), '')
                AS role,
            sum(accepted)::BIGINT AS accepted, sum(repeated)::BIGINT AS duplicate,
            sum(rejected)::BIGINT AS refused
        FROM sources GROUP BY role ORDER BY role
        """
    )


def _times(reader: Transaction, query: str, since: datetime) -> list[Times]:
    return [
        Times(kind=row["kind"], count=row["count"], seconds=tuple(map(float, row["seconds"])))
        for row in reader.rows(query, since)
    ]
