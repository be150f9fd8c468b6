"""Targets in the ledger: how each one fares, and destinations that are disabled."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import polars as pl

from batching.breaker import TargetHealth
from batching.clock import UNSEEN_SHARE
from storage.ledger import Transaction, now

_FEWEST_SHARES = 3
"""The first failure and the one after a long gap lie in two."""

_WAITING_FOR_NOTHING = (
    "state = 'pending' AND destination_id IN "
    "(SELECT destination_id FROM destinations WHERE disabled_at IS NOT NULL)"
)


def health_of(reader: Transaction, target: str) -> TargetHealth:
    """Return what is remembered of the target."""
    row = reader.row(
        "SELECT open_until, openings, failing_since, last_success_at, last_outcome, problem "
        "FROM targets WHERE target = ?",
        target,
    )
    return TargetHealth(**row) if row else TargetHealth()


def record_health(transaction: Transaction, target: str, health: TargetHealth) -> None:
    """Remember how the target fares."""
    transaction.execute(
        "UPDATE targets SET open_until = ?, openings = ?, failing_since = ?, "
        "last_success_at = ?, last_outcome = ?, problem = ? WHERE target = ?",
        health.open_until, health.openings, health.failing_since,
        health.last_success_at, health.last_outcome, health.problem, target,
    )  # fmt: skip


def disable_destinations(transaction: Transaction, reasons: Mapping[int, str]) -> None:
    """Send nothing more to these destinations; what waits for them is exhausted later."""
    for destination_id, reason in reasons.items():
        changed = transaction.execute(
            "UPDATE destinations SET disabled_at = ?, disabled_because = ? "
            "WHERE destination_id = ? AND disabled_at IS NULL",
            now(), reason, destination_id,
        )  # fmt: skip
        if changed:
            transaction.record_move("destination", destination_id, "disabled", reason=reason)


def give_up_target(
    transaction: Transaction, target: str, *, failing_days: float, at: datetime
) -> bool:
    """Disable the target's destinations if it has only failed for so many days.

    Returns whether that is so; 0 days: never. Nor after a machine has slept for days, or its clock
    was put forward: attempts must have failed in between.
    """
    failing_since = health_of(transaction, target).failing_since
    if not failing_days or not failing_since or at - failing_since < timedelta(days=failing_days):
        return False
    if not _failed_all_along(transaction, target, since=failing_since, days=failing_days):
        return False
    reason = (
        f"given up: every attempt has failed since {failing_since:%Y-%m-%d %H:%M} UTC. "
        "Enable it again when it works"
    )
    given_up = transaction.rows(
        "SELECT destination_id FROM destinations WHERE target = ? AND disabled_at IS NULL", target
    )
    disable_destinations(transaction, {row["destination_id"]: reason for row in given_up})
    if given_up:
        transaction.record_move("target", target, "given up", reason=reason)
    return bool(given_up)


def _failed_all_along(reader: Transaction, target: str, *, since: datetime, days: float) -> bool:
    """Tell whether attempts failed in at least so many of the shares of this time."""
    share_seconds = days * 86_400 / UNSEEN_SHARE
    shares = reader.value(
        "SELECT count(DISTINCT floor(epoch(attempted_at - $2::TIMESTAMP) / $3::DOUBLE)) "
        "FROM attempts JOIN deliveries USING (delivery_id) JOIN destinations "
        "USING (destination_id) WHERE target = $1 AND attempts.outcome <> 'success' "
        "AND attempted_at >= $2::TIMESTAMP",
        target, since, share_seconds,
    )  # fmt: skip
    return int(shares) >= _FEWEST_SHARES


def waits_for_disabled(reader: Transaction) -> bool:
    """Return whether deliveries wait for destinations that are disabled."""
    return bool(reader.value(f"SELECT count(*) FROM deliveries WHERE {_WAITING_FOR_NOTHING}"))


def exhaust_disabled(transaction: Transaction, *, under_way: Collection[int]) -> int:
    """End what waits for disabled destinations, with the reason; return how many that were.

    What is under way may still arrive, so its attempt decides.
    """
    taken = pl.DataFrame({"delivery_id": pl.Series(list(under_way), dtype=pl.Int64)})
    with transaction.table("under_way", taken):
        return transaction.execute(
            f"""
            UPDATE deliveries SET state = 'exhausted', next_attempt_at = NULL, finished_at = ?,
                problem = (SELECT 'the destination is disabled: ' || disabled_because
                    FROM destinations
                    WHERE destinations.destination_id = deliveries.destination_id)
            WHERE {_WAITING_FOR_NOTHING}
                AND delivery_id NOT IN (SELECT delivery_id FROM under_way)
            """,
            now(),
        )
