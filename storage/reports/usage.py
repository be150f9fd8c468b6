"""Tokens and money: in all, over time, and by model, endpoint and job."""

from typing import Any, Final, Literal

from storage.ledger import Transaction
from storage.reports.analytics_filter import AnalyticsFilter
from storage.reports.money import JOB_SHARES, PRICED_BATCHES, SUMS, known_prices
from storage.reports.terms import Terms

By = Literal["model", "endpoint", "job"]
_TOKENS: Final = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_OF_BATCHES: Final = f"""
(SELECT batch_id, model, endpoint, NULL AS job, finished_at, requests, input_tokens,
    cached_tokens, output_tokens, reasoning_tokens, cost_usd, synchronous_usd
FROM {PRICED_BATCHES} WHERE state = 'collected')
"""
_OF_JOBS: Final = f"""
(SELECT batch_id, model, endpoint, jobs.name AS job, finished_at, share.requests,
    share.input_tokens, share.cached_tokens, share.output_tokens, share.reasoning_tokens,
    cost_usd * share AS cost_usd, synchronous_usd * share AS synchronous_usd
FROM {PRICED_BATCHES} AS batch JOIN {JOB_SHARES} AS share USING (batch_id)
    JOIN jobs USING (job_id) WHERE batch.state = 'collected')
"""
_SUMMED: Final = (
    "count(DISTINCT batch_id) AS batches, coalesce(sum(requests), 0)::BIGINT AS requests, "
    + "".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}, " for name in _TOKENS)
    + SUMS
)


def usage_totals(reader: Transaction, wanted: AnalyticsFilter, *, terms: Terms) -> dict[str, Any]:
    """Return tokens, cost, synchronous cost and saving of the batches that ended in the span.

    Money is None where nothing is known; batches without a price are counted apart. With a job,
    its share of each batch counts.
    """
    source, where, parameters = _source(wanted, by_job=False)
    with known_prices(reader, terms.prices):
        return reader.row(f"SELECT {_SUMMED} FROM {source} WHERE {where}", *parameters) or {}


def usage_by(
    reader: Transaction, wanted: AnalyticsFilter, by: By, *, terms: Terms, most: int = 100
) -> list[dict[str, Any]]:
    """Return the same by model, endpoint or job (as `name`), the dearest and largest first."""
    source, where, parameters = _source(wanted, by_job=by == "job")
    with known_prices(reader, terms.prices):
        return reader.rows(
            f"SELECT {by} AS name, {_SUMMED} FROM {source} WHERE {where} GROUP BY {by} "
            "ORDER BY cost_usd DESC NULLS LAST, input_tokens DESC, name LIMIT ?",
            *parameters, most,
        )  # fmt: skip


def usage_over_time(
    reader: Transaction, wanted: AnalyticsFilter, *, terms: Terms
) -> list[dict[str, Any]]:
    """Return the same for each piece of the span, by when the batches ended."""
    source, where, parameters = _source(wanted, by_job=False)
    with known_prices(reader, terms.prices):
        rows = reader.rows(
            f"SELECT {wanted.span.bucket_of('finished_at')} AS bucket, {_SUMMED} "
            f"FROM {source} WHERE {where} GROUP BY bucket",
            *parameters,
        )
    numbers = dict.fromkeys(("batches", "requests", *_TOKENS, "unpriced_batches"), 0)
    money = dict.fromkeys(("cost_usd", "synchronous_usd", "saved_usd"))
    return wanted.span.filled(rows, numbers | money)


def estimates_by_model(reader: Transaction, wanted: AnalyticsFilter) -> list[dict[str, Any]]:
    """Return for each model how well tokens were estimated: the shares are actual by estimated.

    Only requests that ended in the span and whose usage is known are compared.
    """
    within = wanted.within("requests.finished_at")
    chosen = wanted.requests.also(within.sql, *within.parameters)
    return reader.rows(
        f"""
        SELECT model, requests, estimated_input_tokens, input_tokens, expected_output_tokens,
            output_tokens, input_tokens / nullif(estimated_input_tokens, 0) AS input_share,
            output_tokens / nullif(expected_output_tokens, 0) AS output_share
        FROM (
            SELECT lane_id, count(*) AS requests, sum(tokens)::BIGINT AS estimated_input_tokens,
                sum(input_tokens)::BIGINT AS input_tokens,
                sum(expected_output_tokens)::BIGINT AS expected_output_tokens,
                sum(output_tokens)::BIGINT AS output_tokens
            FROM requests WHERE input_tokens IS NOT NULL AND {chosen.sql} GROUP BY lane_id)
            JOIN lanes USING (lane_id) ORDER BY model, lane_id
        """,
        *chosen.parameters,
    )


def _source(wanted: AnalyticsFilter, *, by_job: bool) -> tuple[str, str, tuple[object, ...]]:
    """Return the relation to sum over, its condition, and the values of that."""
    found = wanted.within("finished_at")
    if wanted.model is not None:
        found = found.also("model = ?", wanted.model)
    if wanted.job is not None:
        found = found.also("job = ?", wanted.job)
    has_jobs = by_job or wanted.job is not None
    return _OF_JOBS if has_jobs else _OF_BATCHES, found.sql, found.parameters
