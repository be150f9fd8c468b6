"""Why a system in which no flow has work is not finished."""

from dataclasses import dataclass
from datetime import timedelta

from storage.accounts import live_probe, trouble_of
from storage.ledger import Transaction, now
from storage.submission_lock import submission_lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Standstill:
    """Why a system in which no flow has work is not finished, if it is not."""

    under_way: int
    """Batches that are at the provider or on their way to it."""
    waiting_for_time: int
    """Requests whose lane, and results whose next attempt, is due by itself soon."""
    held: str | None
    """Why the remaining requests wait for an operator or another day."""
    account_trouble: str | None


def standstill(reader: Transaction, account: str) -> Standstill:
    """Return what is left while no flow of this account has anything to do."""
    on_the_way = {
        row["account"]: row["batches"]
        for row in reader.rows(
            "SELECT account, count(*) AS batches FROM batches JOIN lanes USING (lane_id) "
            "WHERE state NOT IN ('collected', 'failed', 'cancelled') GROUP BY account"
        )
    }
    waits = {
        row["reason"]: row["requests"]
        for row in reader.rows(
            "SELECT CASE WHEN jobs.paused THEN 'paused' ELSE wait_reason END AS reason, "
            "count(*) AS requests FROM requests JOIN lanes USING (lane_id) JOIN jobs "
            "USING (job_id) WHERE state = 'pending' GROUP BY ALL"
        )
    }
    under_way = on_the_way.pop(account, 0)
    held = [f"{waits.pop(reason):,} requests: {reason}" for reason in _HELD if reason in waits]
    held += [f"{count} batches belong to {other}" for other, count in on_the_way.items()]
    soon = _due_soon(reader)
    held += [] if soon else _undelivered(reader)
    return Standstill(
        under_way=under_way,
        waiting_for_time=sum(waits.values()) + soon + bool(submission_lock(reader)),
        held=", ".join(held) or None,
        account_trouble=_trouble(reader, account) if under_way or waits else None,
    )


def _trouble(reader: Transaction, account: str) -> str | None:
    """Return what stops the account, unless it is just being tried again."""
    return None if live_probe(reader, account) is not None else trouble_of(reader, account)


_HELD = ("paused", "budget")


SOON_SECONDS = 30.0
"""A run until idle waits for attempts that are due within this time, and not for later ones."""


def _due_soon(reader: Transaction) -> int:
    """Return how many results will be pushed within a moment by themselves."""
    return int(
        reader.value(
            "SELECT count(*) FROM deliveries JOIN destinations USING (destination_id) "
            "JOIN targets USING (target) WHERE deliveries.state = 'pending' "
            "AND paused_at IS NULL "
            "AND coalesce(greatest(next_attempt_at, open_until) <= $1, true)",
            now() + timedelta(seconds=SOON_SECONDS),
        )
    )


def _undelivered(reader: Transaction) -> list[str]:
    rows = reader.rows(
        "SELECT name, sum(rows)::BIGINT AS results, max(problem) AS problem "
        "FROM (SELECT job_id, rows, state, problem FROM parts UNION ALL "
        "SELECT job_id, 1, state, problem FROM deliveries) JOIN jobs USING (job_id) "
        "WHERE state = 'pending' "
        "GROUP BY name ORDER BY name LIMIT 3"
    )
    return [
        f"{row['results']:,} results of job {row['name']!r}: {row['problem'] or 'not delivered'}"
        for row in rows
    ]
