"""Money: what batches cost, and what their tokens would have cost synchronously.

The cost of a batch is stored when it is collected, at the batch price of that day. Its synchronous
cost is worked out from that: the cost times what the tokens are worth at synchronous prices, by
what the same tokens are worth at batch prices, both from today's price table, as
`batching.estimates.synchronous_usd` does for one batch.
So long requests keep their factor, cached tokens get their synchronous discount, and a model
without a price stays unknown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import polars as pl

from batching.prices import Price, PriceTable
from batching.provider import TokenUsage
from storage.ledger import Transaction

_TOKENS: Final = {
    "input": TokenUsage(input_tokens=1),
    "cached": TokenUsage(input_tokens=1, cached_tokens=1),
    "output": TokenUsage(output_tokens=1),
}
_RATES: Final = [f"{when}_{kind}" for when in ("batch", "synchronous") for kind in _TOKENS]


def _worth(when: str) -> str:
    return (
        f"((input_tokens - least(cached_tokens, input_tokens)) * {when}_input "
        f"+ least(cached_tokens, input_tokens) * {when}_cached + output_tokens * {when}_output)"
    )


PRICED_BATCHES: Final = f"""
(SELECT batches.* EXCLUDE (cost_usd, expected_cost_usd), account, endpoint, model,
    cost_usd::DOUBLE AS cost_usd, expected_cost_usd::DOUBLE AS expected_cost_usd,
    CASE WHEN batch_input IS NULL THEN NULL
        WHEN {_worth("batch")} = 0 THEN cost_usd::DOUBLE
        ELSE cost_usd::DOUBLE * {_worth("synchronous")} / {_worth("batch")}
    END AS synchronous_usd
FROM batches JOIN lanes USING (lane_id) JOIN lane_prices USING (lane_id))
"""
"""Batches with their lane and `synchronous_usd`; to be read within `known_prices`."""

SUMS: Final = """
    sum(cost_usd) AS cost_usd, sum(synchronous_usd) AS synchronous_usd,
    sum(synchronous_usd - cost_usd) AS saved_usd,
    count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_batches
"""
"""Money of a group of collected batches: the sum of what is known, None if nothing is."""

JOB_SHARES: Final = """
(SELECT job_id, batch_id, requests, incoming AS input_tokens, cached AS cached_tokens,
    outgoing AS output_tokens, reasoning AS reasoning_tokens,
    CASE WHEN worth_of_all > 0 THEN worth / worth_of_all
        ELSE requests / requests_of_all END AS share
FROM (
    SELECT *, sum(worth) OVER batch AS worth_of_all,
        sum(requests) OVER batch AS requests_of_all
    FROM (
        SELECT job_id, batch_id, requests, incoming, cached, outgoing, reasoning,
            coalesce((incoming - cached) * coalesce(batch_input, 1)
                + cached * coalesce(batch_cached, 1)
                + outgoing * coalesce(batch_output, 1), 0) AS worth
        FROM (
            SELECT job_id, batch_id, lane_id, count(*) AS requests,
                sum(input_tokens) AS incoming, sum(output_tokens) AS outgoing,
                sum(reasoning_tokens) AS reasoning,
                sum(least(cached_tokens, input_tokens)) AS cached
            FROM requests WHERE batch_id IS NOT NULL GROUP BY job_id, batch_id, lane_id
        ) JOIN lane_prices USING (lane_id))
    WINDOW batch AS (PARTITION BY batch_id)))
"""
"""Which share of each batch's money belongs to which job: by what the tokens of its answers are
worth, or by number where nothing was answered. A batch is paid by the jobs that have requests in
it now, so the jobs' money adds up to that of the batches."""


@contextmanager
def known_prices(reader: Transaction, prices: PriceTable) -> Iterator[None]:
    """Let queries read the price of each lane's tokens as the table `lane_prices`."""
    rows = [
        {"lane_id": lane["lane_id"]} | _rates(prices.price_of(lane["model"]))
        for lane in reader.rows("SELECT lane_id, model FROM lanes")
    ]
    kinds: dict[str, Any] = {"lane_id": pl.Int32} | dict.fromkeys(_RATES, pl.Float64)
    with reader.table("lane_prices", pl.DataFrame(rows, schema=kinds)):
        yield


def _rates(price: Price | None) -> dict[str, float | None]:
    """Return USD a token; of the usual price, since the cost paid knows the long requests."""
    if price is None:
        return dict.fromkeys(_RATES)
    usual = replace(price, long_above_tokens=None)
    return {
        f"{when}_{kind}": float(usual.cost_usd(usage, batch=when == "batch"))
        for when in ("batch", "synchronous")
        for kind, usage in _TOKENS.items()
    }
