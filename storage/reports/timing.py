"""Time, fill and failures: how fast work goes through, and what of it goes wrong."""

from typing import Any, Final

from storage.ledger import Transaction
from storage.reports.analytics_filter import AnalyticsFilter
from storage.reports.distributions import distribution
from storage.reports.outcomes import time_to_result
from storage.reports.terms import Terms
from storage.request_filter import Condition

_STEPS: Final = ("received", "sent", "finished", "delivered")


def flow_over_time(reader: Transaction, wanted: AnalyticsFilter) -> list[dict[str, Any]]:
    """Return how many requests were received, sent, finished and delivered in each piece of time.

    `sent` counts a request once for each batch that it has now; what was returned and went again
    counts where it went last. Delivered results that no batch brought have no model.
    """
    pieces = [
        _step(wanted, "received", "requests", "accepted_at", wanted.requests),
        _sent(wanted),
        _step(wanted, "finished", "requests", "finished_at", wanted.requests),
        _step(wanted, "delivered", _DELIVERED, "delivered_at", _of_results(wanted)),
    ]
    sums = ", ".join(
        f"coalesce(sum(n) FILTER (WHERE step = '{step}'), 0)::BIGINT AS {step}" for step in _STEPS
    )
    rows = reader.rows(
        f"SELECT bucket, {sums} FROM ({' UNION ALL '.join(piece.sql for piece in pieces)}) "
        "GROUP BY bucket",
        *(value for piece in pieces for value in piece.parameters),
    )
    return wanted.span.filled(rows, dict.fromkeys(_STEPS, 0))


def batch_turnaround(reader: Transaction, wanted: AnalyticsFilter) -> dict[str, Any]:
    """Return how long batches that ended in the span were at the provider."""
    chosen = _batches_within(wanted, "ended_at")
    return distribution(
        reader,
        "SELECT (epoch_us(ended_at) - epoch_us(submitted_at)) // 1000000 AS seconds "
        f"FROM batches JOIN lanes USING (lane_id) WHERE {chosen.sql}",
        *chosen.parameters,
    )


def turnaround_by_model(reader: Transaction, wanted: AnalyticsFilter) -> list[dict[str, Any]]:
    """Return by model how long batches that ended in the span were at the provider."""
    chosen = _batches_within(wanted, "ended_at")
    return reader.rows(
        f"""
        SELECT model, count(*) AS batches, quantile_cont(seconds, 0.5) AS p50_seconds,
            quantile_cont(seconds, 0.9) AS p90_seconds, quantile_cont(seconds, 0.99) AS p99_seconds
        FROM (SELECT *, epoch(ended_at - submitted_at) AS seconds
            FROM batches JOIN lanes USING (lane_id) WHERE {chosen.sql})
        GROUP BY model ORDER BY model
        """,
        *chosen.parameters,
    )


def request_durations(reader: Transaction, wanted: AnalyticsFilter) -> dict[str, Any]:
    """Return how long requests that ended in the span took from acceptance to their end."""
    return time_to_result(
        reader, since=wanted.span.since, until=wanted.span.until,
        model=wanted.model, job=wanted.job,
    )  # fmt: skip


def batch_fill(
    reader: Transaction, wanted: AnalyticsFilter, *, terms: Terms
) -> list[dict[str, Any]]:
    """Return by model how full the batches planned in the span were, as shares of the limits.

    `filled_share` is the mean of what was nearest to its limit in each batch.
    """
    chosen = _batches_within(wanted, "planned_at")
    limits = terms.limits
    return reader.rows(
        f"""
        SELECT model, count(*) AS batches, sum(requests)::BIGINT AS requests,
            avg(requests) AS mean_requests, avg(bytes) AS mean_bytes,
            avg(requests / ?) AS requests_share, avg(bytes / ?) AS bytes_share,
            avg(greatest(requests / ?, bytes / ?, embedding_inputs / ?)) AS filled_share,
            count(*) FILTER (WHERE closed_because = 'full') AS closed_full,
            count(*) FILTER (WHERE closed_because <> 'full') AS closed_by_time
        FROM batches JOIN lanes USING (lane_id) WHERE {chosen.sql} GROUP BY model ORDER BY model
        """,
        limits.requests, limits.bytes, limits.requests, limits.bytes, limits.embedding_inputs,
        *chosen.parameters,
    )  # fmt: skip


def batch_endings(reader: Transaction, wanted: AnalyticsFilter) -> dict[str, Any]:
    """Return how the batches that were finished in the span have ended, and what came back.

    `returned_share` is the share of requests that went back to wait for another batch.
    """
    chosen = _batches_within(wanted, "finished_at")
    found = reader.row(
        f"""
        SELECT count(*) AS batches, coalesce(sum(requests), 0)::BIGINT AS requests,
            count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE provider_status = 'expired') AS expired,
            count(*) FILTER (WHERE returned > 0) AS with_returned,
            coalesce(sum(returned), 0)::BIGINT AS returned_requests,
            coalesce(sum(token_refusals), 0)::BIGINT AS token_refusals,
            count(*) FILTER (WHERE provider_status = 'expired') / nullif(count(*), 0)
                AS expired_share,
            sum(returned) / nullif(sum(requests), 0) AS returned_share
        FROM batches JOIN lanes USING (lane_id) WHERE {chosen.sql}
        """,
        *chosen.parameters,
    )
    return found or {}


def errors_by_model(
    reader: Transaction, wanted: AnalyticsFilter, *, most: int = 200
) -> list[dict[str, Any]]:
    """Return the requests that failed in the span by error code, status code and model."""
    chosen = _requests_within(wanted, "requests.finished_at")
    return reader.rows(
        f"""
        SELECT coalesce(error_code, 'unknown') AS error_code, status_code, model, requests
        FROM (SELECT error_code, status_code, lane_id, count(*) AS requests FROM requests
            WHERE requests.state = 'failed' AND {chosen.sql} GROUP BY ALL)
            JOIN lanes USING (lane_id)
        ORDER BY requests DESC, error_code, model LIMIT ?
        """,
        *chosen.parameters, most,
    )  # fmt: skip


def delivery_success(reader: Transaction, wanted: AnalyticsFilter) -> list[dict[str, Any]]:
    """Return by target how the attempts of the span went, the least successful first."""
    chosen = wanted.within("attempted_at")
    results = _of_results(wanted)
    return reader.rows(
        f"""
        SELECT target, any_value(kind) AS kind, sum(attempts)::BIGINT AS attempts,
            sum(succeeded)::BIGINT AS succeeded,
            sum(succeeded) / nullif(sum(attempts), 0) AS success_share,
            sum(milliseconds) / nullif(sum(attempts), 0) / 1000 AS mean_seconds
        FROM (
            SELECT destination_id, count(*) AS attempts, sum(duration_milliseconds) AS milliseconds,
                count(*) FILTER (WHERE attempts.outcome = 'success') AS succeeded
            FROM attempts JOIN deliveries USING (delivery_id)
            WHERE {chosen.sql} AND {results.sql} GROUP BY destination_id)
            JOIN destinations USING (destination_id)
        GROUP BY target ORDER BY success_share, attempts DESC, target
        """,
        *chosen.parameters, *results.parameters,
    )  # fmt: skip


_DELIVERED: Final = """
(SELECT job_id, result_id, rows, delivered_at FROM parts WHERE state = 'delivered'
UNION ALL SELECT job_id, result_id, 1, finished_at FROM deliveries WHERE state = 'delivered')
"""


def _of_results(wanted: AnalyticsFilter) -> Condition:
    found = Condition()
    if wanted.job is not None:
        found = found.also("job_id IN (SELECT job_id FROM jobs WHERE name = ?)", wanted.job)
    if wanted.model is not None:
        found = found.also(
            "result_id IN (SELECT result_id FROM results JOIN batches USING (batch_id) "
            "JOIN lanes USING (lane_id) WHERE model = ?)",
            wanted.model,
        )
    return found


def _step(
    wanted: AnalyticsFilter, step: str, source: str, column: str, condition: Condition
) -> Condition:
    within = wanted.within(column)
    count = "sum(rows)" if source == _DELIVERED else "count(*)"
    return Condition(
        sql=f"SELECT {wanted.span.bucket_of(column)} AS bucket, '{step}' AS step, {count} AS n "
        f"FROM {source} WHERE {within.sql} AND {condition.sql} GROUP BY bucket",
        parameters=(*within.parameters, *condition.parameters),
    )


def _sent(wanted: AnalyticsFilter) -> Condition:
    """Count whole batches, or those requests of them that belong to the job."""
    within = wanted.within("submitted_at")
    bucket = wanted.span.bucket_of("submitted_at")
    if wanted.job is None:
        source, count, chosen = (
            "batches JOIN lanes USING (lane_id)",
            "sum(requests)",
            wanted.batches,
        )
    else:
        source = "requests JOIN (SELECT batch_id, submitted_at FROM batches) USING (batch_id)"
        count, chosen = "count(*)", wanted.requests
    return Condition(
        sql=f"SELECT {bucket} AS bucket, 'sent' AS step, {count} AS n FROM {source} "
        f"WHERE {within.sql} AND {chosen.sql} GROUP BY bucket",
        parameters=(*within.parameters, *chosen.parameters),
    )


def _batches_within(wanted: AnalyticsFilter, column: str) -> Condition:
    within = wanted.within(column)
    return wanted.batches.also(within.sql, *within.parameters)


def _requests_within(wanted: AnalyticsFilter, column: str) -> Condition:
    within = wanted.within(column)
    return wanted.requests.also(within.sql, *within.parameters)
