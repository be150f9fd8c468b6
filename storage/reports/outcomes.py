"""What became of requests: over time, by error, and how long it took."""

from datetime import datetime
from typing import Any, Final

from storage.ledger import Transaction
from storage.reports.buckets import Span
from storage.reports.distributions import distribution
from storage.request_filter import RequestFilter, condition_of

OUTCOMES: Final = (
    "delivered", "delivering", "processing", "pending", "delivery_failed", "failed", "cancelled",
)  # fmt: skip
"""Each request is in exactly one: a failed one in `failed`, whether its error is delivered or not;
a delivery that was given up counts as `delivery_failed`."""

# What is delivered may be millions, what is not is little: so all that succeeded counts as
# delivered first, and what is not is looked up and taken off again.
_COUNTED: Final = """
SELECT {bucket} AS bucket, CASE requests.state WHEN 'succeeded' THEN 'delivered'
    WHEN 'batched' THEN 'processing' ELSE requests.state END AS outcome, count(*) AS n
FROM requests WHERE {span} GROUP BY ALL
UNION ALL
SELECT bucket, unnest(['delivered', CASE state WHEN 'pending' THEN 'delivering'
    ELSE 'delivery_failed' END]) AS outcome, unnest([-count(*), count(*)]) AS n
FROM (
    SELECT {bucket} AS bucket, undelivered.state
    FROM requests JOIN (SELECT segment, row_index, result_id, state FROM deliveries
        WHERE state <> 'delivered') AS undelivered
        ON undelivered.segment = requests.segment AND undelivered.row_index = requests.row_index
        AND undelivered.result_id = requests.result_id
    WHERE requests.state = 'succeeded' AND requests.destination_id <> 0 AND {span}
    UNION ALL
    SELECT {bucket}, undelivered.state
    FROM requests JOIN (SELECT job_id, result_id, state FROM parts WHERE state <> 'delivered')
        AS undelivered ON undelivered.job_id = requests.job_id
        AND undelivered.result_id = requests.result_id
    WHERE requests.state = 'succeeded' AND requests.destination_id = 0 AND {span})
GROUP BY bucket, state
"""


def outcomes_over_time(reader: Transaction, *, span: Span) -> list[dict[str, Any]]:
    """Return for each piece of time what became of the requests that were accepted in it."""
    counted = _COUNTED.format(
        bucket=span.bucket_of("requests.accepted_at"),
        span="requests.accepted_at >= $1::TIMESTAMP AND requests.accepted_at < $2::TIMESTAMP",
    )
    sums = ", ".join(
        f"coalesce(sum(n) FILTER (WHERE outcome = '{name}'), 0)::BIGINT AS {name}"
        for name in OUTCOMES
    )
    rows = reader.rows(
        f"SELECT bucket, {sums} FROM ({counted}) GROUP BY bucket", span.since, span.until
    )
    return span.filled(rows, dict.fromkeys(OUTCOMES, 0))


def time_to_result(
    reader: Transaction,
    *,
    since: datetime,
    until: datetime,
    model: str | None = None,
    job: str | None = None,
) -> dict[str, Any]:
    """Return how long requests that ended in this time took from acceptance to their end.

    Cancelled requests are left out: nobody waited for them.
    """
    wanted = condition_of(RequestFilter(model=model, job=job))
    return distribution(
        reader,
        "SELECT (epoch_us(finished_at) - epoch_us(accepted_at)) // 1000000 AS seconds "
        f"FROM requests WHERE {wanted.sql} AND state IN ('succeeded', 'failed') "
        "AND finished_at >= ?::TIMESTAMP AND finished_at < ?::TIMESTAMP",
        *wanted.parameters, since, until,
    )  # fmt: skip


def failures_by_code(
    reader: Transaction, *, since: datetime, until: datetime, most: int = 12
) -> list[dict[str, Any]]:
    """Return the failed requests of this time by error code, the most frequent first."""
    return reader.rows(
        "SELECT coalesce(error_code, 'unknown') AS error_code, count(*) AS requests "
        "FROM requests WHERE state = 'failed' AND finished_at >= ?::TIMESTAMP "
        "AND finished_at < ?::TIMESTAMP GROUP BY ALL ORDER BY requests DESC, error_code LIMIT ?",
        since, until, most,
    )  # fmt: skip
