"""How many deliveries are in each state, and how many attempts there were, under one filter."""

from datetime import datetime
from typing import Any, Final

from batching.lifecycle import DeliveryState
from storage.ledger import Transaction

_OF_TARGET: Final = (
    "AND destination_id IN (SELECT destination_id FROM destinations WHERE target = ?)"
)


def delivery_counts(
    reader: Transaction, *, target: str | None = None, since: datetime | None = None
) -> dict[str, int]:
    """Return the deliveries by state, and `attempts`, for a target, of a time.

    Deliveries count by when their result was there, attempts by when they were made.
    """
    # Left out where no target is wanted: the database would still look every attempt up.
    ours = "" if target is None else _OF_TARGET
    known = [value for value in (target, since) if value is not None]
    states: dict[str, Any] = {
        row["state"]: row["deliveries"]
        for row in reader.rows(
            f"SELECT state, count(*) AS deliveries FROM deliveries WHERE true {ours} "
            f"{_from('created_at', since)} GROUP BY state",
            *known,
        )
    }
    theirs = f"AND delivery_id IN (SELECT delivery_id FROM deliveries WHERE true {ours})"
    attempts = reader.value(
        f"SELECT count(*) FROM attempts WHERE true {theirs if ours else ''} "
        f"{_from('attempted_at', since)}",
        *known,
    )
    return {state.value: states.get(state.value, 0) for state in DeliveryState} | {
        "attempts": attempts
    }


def _from(column: str, since: datetime | None) -> str:
    return "" if since is None else f"AND {column} >= ?::TIMESTAMP"
