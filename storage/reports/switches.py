"""The settings page: what is paused or could be, and what each lane may have at the provider."""

from typing import Any

from storage.ledger import Transaction
from storage.reports.overview import enqueued_by_lane
from storage.reports.terms import Terms


def lane_switches(reader: Transaction) -> list[dict[str, Any]]:
    """Return each lane with whether it is paused and how many requests wait in it."""
    return reader.rows(
        """
        SELECT lane_id, account, endpoint, model, paused, coalesce(pending, 0) AS pending
        FROM lanes LEFT JOIN (SELECT lane_id, count(*) AS pending FROM requests
            WHERE state = 'pending' GROUP BY lane_id) USING (lane_id)
        ORDER BY model, endpoint, lane_id
        """
    )


def target_switches(reader: Transaction) -> list[dict[str, Any]]:
    """Return each pushed target with since when it is paused and how many results wait for it."""
    return reader.rows(
        """
        SELECT target, kind, paused_at, coalesce(pending, 0) AS pending
        FROM targets LEFT JOIN (SELECT target, count(*) AS pending
            FROM deliveries JOIN destinations USING (destination_id)
            WHERE state = 'pending' GROUP BY target) USING (target)
        ORDER BY target
        """
    )


def held_back(reader: Transaction) -> dict[str, int]:
    """Return how many `lanes`, `jobs` and `targets` somebody has paused."""
    found = reader.row(
        "SELECT (SELECT count(*) FROM lanes WHERE paused) AS lanes, "
        "(SELECT count(*) FROM jobs WHERE paused) AS jobs, "
        "(SELECT count(*) FROM targets WHERE paused_at IS NOT NULL) AS targets"
    )
    return found or {}


def lane_limits(reader: Transaction, *, terms: Terms) -> list[dict[str, Any]]:
    """Return what `enqueued_by_lane` says of each lane, and what it has learned, and when."""
    learned = {
        row["lane_id"]: row
        for row in reader.rows(
            "SELECT lane_id, learned_limit, learned_at, cautious_tokens FROM lanes"
        )
    }
    return [lane | learned[lane["lane_id"]] for lane in enqueued_by_lane(reader, terms=terms)]
