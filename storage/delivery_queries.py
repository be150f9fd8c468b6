"""Deliveries and the targets they go to, as people ask for them."""

from typing import Any, Final

from storage.ledger import Transaction, now

_DELIVERY: Final = """
SELECT delivery_id AS id, jobs.name AS job, custom_id, requests.batch_id, target,
    destinations.kind, config AS delivery_config, deliveries.state, deliveries.attempts,
    next_attempt_at, outcome, problem, deliveries.created_at, deliveries.finished_at
FROM ({chosen}) AS deliveries JOIN jobs USING (job_id)
    JOIN destinations ON destinations.destination_id = deliveries.destination_id
    LEFT JOIN requests ON requests.segment = deliveries.segment
        AND requests.row_index = deliveries.row_index
"""
"""Of few deliveries that were chosen before: only they are joined with what belongs to them."""


def deliveries_page(
    reader: Transaction,
    *,
    state: str | None,
    outcome: str | None,
    target: str | None,
    job: str | None,
    before: int | None,
    most: int,
) -> list[dict[str, Any]]:
    """Return deliveries, the newest first, with smaller numbers than `before`."""
    chosen = (
        "SELECT * FROM deliveries WHERE ($1::VARCHAR IS NULL OR state = $1) "
        "AND ($2::VARCHAR IS NULL OR outcome = $2) AND ($3::VARCHAR IS NULL OR destination_id IN "
        "(SELECT destination_id FROM destinations WHERE target = $3)) "
        "AND ($4::VARCHAR IS NULL OR job_id IN (SELECT job_id FROM jobs WHERE name = $4)) "
        "AND ($5::BIGINT IS NULL OR delivery_id < $5) ORDER BY delivery_id DESC LIMIT $6"
    )
    return reader.rows(
        _DELIVERY.format(chosen=chosen) + "ORDER BY delivery_id DESC",
        state, outcome, target, job, before, most,
    )  # fmt: skip


def delivery_named(reader: Transaction, delivery_id: int) -> dict[str, Any] | None:
    """Return one delivery, or None."""
    chosen = "SELECT * FROM deliveries WHERE delivery_id = ?"
    return reader.row(_DELIVERY.format(chosen=chosen), delivery_id)


def deliveries_by_state(reader: Transaction) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    rows = reader.rows("SELECT state, count(*) AS deliveries FROM deliveries GROUP BY state")
    return {row["state"]: row["deliveries"] for row in rows}


def destinations_report(reader: Transaction) -> list[dict[str, Any]]:
    """Return each destination with what waits for it and how its target answers."""
    return reader.rows(
        """
        SELECT destination_id AS id, target, destinations.kind, config AS delivery_config,
            coalesce(due, 0) AS due, coalesce(pending, 0) AS pending,
            coalesce(exhausted, 0) AS exhausted, coalesce(openings, 0) AS openings,
            CASE WHEN open_until IS NULL OR coalesce(openings, 0) = 0 THEN 'closed'
                WHEN open_until > $1::TIMESTAMP THEN 'open' ELSE 'half_open' END AS breaker,
            open_until, failing_since, last_success_at, last_outcome, problem, disabled_at,
            disabled_because
        FROM destinations LEFT JOIN targets USING (target) LEFT JOIN (
            SELECT destination_id, count(*) FILTER (WHERE state = 'pending') AS pending,
                count(*) FILTER (WHERE state = 'pending' AND
                    (next_attempt_at IS NULL OR next_attempt_at <= $1::TIMESTAMP)) AS due,
                count(*) FILTER (WHERE state = 'exhausted') AS exhausted
            FROM deliveries GROUP BY destination_id) USING (destination_id)
        ORDER BY destination_id LIMIT 10000
        """,
        now(),
    )


def ages_report(reader: Transaction) -> dict[str, float]:
    """Return in seconds how long the oldest pending delivery and the oldest open batches wait."""
    rows = reader.rows(
        """
        SELECT 'delivery' AS what, epoch($1::TIMESTAMP - min(created_at)) AS age
        FROM deliveries WHERE state = 'pending'
        UNION ALL
        SELECT state, epoch($1::TIMESTAMP - min(planned_at)) FROM batches
        WHERE state NOT IN ('collected', 'failed', 'cancelled') GROUP BY state
        """,
        now(),
    )
    return {row["what"]: float(row["age"]) for row in rows if row["age"] is not None}
