"""How many deliveries are in each state, and how many attempts there were, under one filter."""

from datetime import datetime
from typing import Any

from batching.lifecycle import DeliveryState
from storage.ledger import Transaction


def delivery_counts(
    reader: Transaction, *, target: str | None = None, since: datetime | None = None
) -> dict[str, int]:
    """Return the deliveries by state, and `attempts`, for a target, of a time.

    Deliveries count by when their result was there, attempts by when they were made.
    """
    ours = (
        "($1::VARCHAR IS NULL OR destination_id IN "
        "(SELECT destination_id FROM destinations WHERE target = $1))"
    )
    states: dict[str, Any] = {
        row["state"]: row["deliveries"]
        for row in reader.rows(
            f"SELECT state, count(*) AS deliveries FROM deliveries WHERE {ours} "
            "AND ($2::TIMESTAMP IS NULL OR created_at >= $2) GROUP BY state",
            target, since,
        )
    }  # fmt: skip
    attempts = reader.value(
        "SELECT count(*) FROM attempts WHERE ($1::VARCHAR IS NULL OR delivery_id IN "
        f"(SELECT delivery_id FROM deliveries WHERE {ours})) "
        "AND ($2::TIMESTAMP IS NULL OR attempted_at >= $2)",
        target, since,
    )  # fmt: skip
    return {state.value: states.get(state.value, 0) for state in DeliveryState} | {
        "attempts": attempts
    }
