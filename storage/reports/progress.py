"""How far everything is: by state, lane, job and source."""

from datetime import datetime
from typing import Any

from storage.ledger import Transaction


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
