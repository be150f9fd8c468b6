"""Reports: each figure that people are shown is one named query here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.accounts import trouble_of
from storage.ledger import Transaction, now


def lanes_report(reader: Transaction) -> list[dict[str, Any]]:
    """Return each lane with what is pending in it and why it waits."""
    return reader.rows(
        """
        SELECT lane_id, account, endpoint, model, coalesce(pending, 0) AS pending,
            coalesce(pending_tokens, 0) AS pending_tokens,
            coalesce(enqueued_tokens, 0) AS enqueued_tokens, learned_limit,
            wait_reason, wait_detail, waiting_since, backoff_until, paused
        FROM lanes
        LEFT JOIN (
            SELECT lane_id, count(*) AS pending, sum(tokens)::BIGINT AS pending_tokens
            FROM requests WHERE state = 'pending' GROUP BY lane_id) USING (lane_id)
        LEFT JOIN (
            SELECT lane_id, sum(tokens)::BIGINT AS enqueued_tokens FROM batches
            WHERE state IN ('submitting', 'submitted') GROUP BY lane_id) USING (lane_id)
        ORDER BY lane_id
        """
    )


def open_batches_report(reader: Transaction) -> list[dict[str, Any]]:
    """Return the batches that are not at their end, oldest first."""
    return reader.rows(
        """
        SELECT batch_id, model, endpoint, state, provider_status, requests,
            provider_completed AS completed, provider_failed AS failed, provider_id,
            submitted_at, not_before, fault_message
        FROM batches JOIN lanes USING (lane_id)
        WHERE state NOT IN ('collected', 'failed', 'cancelled') ORDER BY batch_id
        """
    )


def batches_by_state(reader: Transaction) -> dict[str, int]:
    """Return how many batches are in each state."""
    rows = reader.rows("SELECT state, count(*) AS batches FROM batches GROUP BY state")
    return {row["state"]: row["batches"] for row in rows}


def requests_by_state(reader: Transaction) -> dict[str, int]:
    """Return how many requests are in each state."""
    rows = reader.rows("SELECT state, count(*) AS requests FROM requests GROUP BY state")
    return {row["state"]: row["requests"] for row in rows}


def jobs_report(reader: Transaction, *, name: str | None = None) -> list[dict[str, Any]]:
    """Return every job (or the one of this name) with its progress, newest first."""
    return reader.rows(
        """
        SELECT jobs.job_id, name, slug, paused, created_at, completed_at,
            coalesce(requests, 0) AS requests, coalesce(pending, 0) AS pending,
            coalesce(batched, 0) AS batched, coalesce(succeeded, 0) AS succeeded,
            coalesce(failed, 0) AS failed, coalesce(cancelled, 0) AS cancelled,
            coalesce(delivered, 0) AS delivered, coalesce(rejected, 0) AS rejected
        FROM jobs
        LEFT JOIN (
            SELECT job_id, count(*) AS requests,
                count(*) FILTER (WHERE state = 'pending') AS pending,
                count(*) FILTER (WHERE state = 'batched') AS batched,
                count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
                count(*) FILTER (WHERE state = 'failed') AS failed,
                count(*) FILTER (WHERE state = 'cancelled') AS cancelled
            FROM requests GROUP BY job_id) AS counts USING (job_id)
        LEFT JOIN (
            SELECT job_id, sum(rows)::BIGINT AS delivered
            FROM (SELECT job_id, rows, state FROM parts
                UNION ALL SELECT job_id, 1, state FROM deliveries)
            WHERE state = 'delivered' GROUP BY job_id) AS brought USING (job_id)
        LEFT JOIN (
            SELECT job_id, sum(rejected)::BIGINT AS rejected FROM sources
            GROUP BY job_id) AS refused USING (job_id)
        WHERE $1::VARCHAR IS NULL OR name = $1
        ORDER BY jobs.job_id DESC
        """,
        name,
    )


def sources_report(reader: Transaction) -> list[dict[str, Any]]:
    """Return every source with what became of it, newest first."""
    return reader.rows(
        "SELECT sources.name, jobs.name AS job, outcome, reason, accepted, rejected, repeated, "
        "taken_in_at FROM sources LEFT JOIN jobs USING (job_id) ORDER BY taken_in_at DESC"
    )


def money_report(reader: Transaction) -> list[dict[str, Any]]:
    """Return usage and cost by model; cost is null where no price is known."""
    return reader.rows(
        """
        SELECT model, count(*) AS batches, sum(batches.requests)::BIGINT AS requests,
            sum(input_tokens)::BIGINT AS input_tokens,
            sum(output_tokens)::BIGINT AS output_tokens,
            CASE WHEN count(*) FILTER (WHERE state = 'collected' AND cost_usd IS NULL) = 0
                THEN sum(cost_usd) END AS cost_usd
        FROM batches JOIN lanes USING (lane_id) GROUP BY model ORDER BY model
        """
    )


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
        waiting_for_time=sum(waits.values()) + soon,
        held=", ".join(held) or None,
        account_trouble=trouble_of(reader, account) if under_way or waits else None,
    )


_HELD = ("paused", "budget")


SOON_SECONDS = 30.0
"""A run until idle waits for attempts that are due within this time, and not for later ones."""


def _due_soon(reader: Transaction) -> int:
    """Return how many results will be pushed within a moment by themselves."""
    return int(
        reader.value(
            "SELECT count(*) FROM deliveries JOIN destinations USING (destination_id) "
            "JOIN targets USING (target) WHERE deliveries.state = 'pending' "
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


def failures_since(reader: Transaction, since: datetime) -> int:
    """Return how many requests failed and how many lines or files were rejected since then."""
    return int(
        reader.value(
            "SELECT (SELECT count(*) FROM requests WHERE state IN ('failed', 'cancelled') "
            "AND finished_at >= $1) + (SELECT count(*) FROM sources WHERE taken_in_at >= $1 "
            "AND (rejected > 0 OR outcome = 'rejected'))",
            since,
        )
    )
