"""Waiting until a recorded moment, as queries say it; `batching.clock.is_due` says the same."""

LONGEST_DELIVERY_PAUSE_SECONDS = 30 * 3_600.0
"""More than the longest pause between two attempts at one delivery, its spread included."""


def is_due_sql(column: str, at: str, *, longest_seconds: float) -> str:
    """Return the condition that a wait is over; `at` is the parameter with the present moment.

    A moment further away than anybody waits was recorded before the clock was put back.
    """
    moment = f"{at}::TIMESTAMP"
    return (
        f"({column} IS NULL OR NOT ({column} > {moment} "
        f"AND {column} <= {moment} + to_seconds({float(longest_seconds)!r}::DOUBLE)))"
    )
