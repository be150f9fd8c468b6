"""The batches page: a filtered, sorted page with counts from one reader, and what gathers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from storage.lanes import LONGEST_WAIT_SECONDS
from storage.ledger import Transaction
from storage.reports.money import PRICED_BATCHES, known_prices
from storage.reports.paging import PageChoice, counted_page, order_by
from storage.reports.terms import Terms
from storage.token_caps import read_token_caps

_OPEN: Final = "state NOT IN ('collected', 'failed', 'cancelled')"
TABS: Final[Mapping[str, str]] = {
    "all": "true",
    "active": _OPEN,
    "attention": f"(state = 'failed' OR ({_OPEN} AND failures > 0) OR exhausted > 0)",
    "finished": "state IN ('collected', 'cancelled')",
}
SORTS: Final[Mapping[str, str]] = {
    "created": "created_at",
    "id": "batch_id",
    "requests": "requests",
    "bytes": "bytes",
    "tokens": "tokens",
    "state": "state",
    "state_since": "state_since",
    "model": "model",
    "endpoint": "endpoint",
    "cost": "cost_usd",
}
# A batch that was put back has no column for when: its last recorded move says it.
_BATCHES: Final = f"""
(SELECT batch.*, coalesce(moved_at, planned_at) AS state_since,
    coalesce(exhausted, 0) AS exhausted
FROM {PRICED_BATCHES} AS batch
LEFT JOIN (
    SELECT TRY_CAST(entity_id AS INTEGER) AS batch_id, max(happened_at) AS moved_at
    FROM transitions WHERE entity = 'batch' AND list_contains($1::VARCHAR[], target)
    GROUP BY entity_id) USING (batch_id)
LEFT JOIN (
    SELECT batch_id, count(*) AS exhausted FROM deliveries JOIN results USING (result_id)
    WHERE deliveries.state = 'exhausted' GROUP BY batch_id) USING (batch_id))
"""
_STATES: Final = [
    "planned", "uploaded", "submitting", "submitted", "ended", "collected", "failed", "cancelled",
]  # fmt: skip
_FILTER: Final = """
($2::VARCHAR IS NULL OR batch_id::VARCHAR = $2
    OR contains(lower(coalesce(provider_id, '')), lower($2))
    OR contains(lower(model), lower($2)) OR contains(lower(endpoint), lower($2))
    OR ($3::BOOLEAN AND batch_id IN (SELECT batch_id FROM requests WHERE job_id IN
        (SELECT job_id FROM jobs WHERE contains(lower(name), lower($2))))))
AND ($4::VARCHAR IS NULL OR state = $4) AND ($5::VARCHAR IS NULL OR model = $5)
AND ($6::VARCHAR IS NULL OR batch_id IN (SELECT batch_id FROM requests WHERE job_id IN
    (SELECT job_id FROM jobs WHERE name = $6)))
AND ($7::INTEGER[] IS NULL OR list_contains($7, batch_id))
"""
_COLUMNS: Final = """
batch_id, state, state_since, account, endpoint, model, lane_id, closed_because, requests, bytes,
tokens, provider_status, provider_id, provider_total, provider_completed, provider_failed,
cancel_requested, failures, token_refusals, not_before, fault_code, fault_message,
planned_at AS created_at, submitted_at, ended_at, finished_at, last_polled_at, next_poll_at,
succeeded, failed, cancelled, returned, exhausted, expected_cost_usd, cost_usd, synchronous_usd,
synchronous_usd - cost_usd AS saved_usd
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFilter:
    """Which batches are wanted: those for which everything holds that is given."""

    text: str | None = None
    """In the provider's id, model, endpoint or a job's name, or the number of the batch."""
    tab: str = "all"
    """One of `TABS`."""
    state: str | None = None
    model: str | None = None
    job: str | None = None
    """The whole name of a job that has requests in the batch."""
    batch_ids: tuple[int, ...] | None = None
    """A selection."""


def batches_view(
    reader: Transaction, wanted: BatchFilter, choice: PageChoice, *, terms: Terms
) -> dict[str, Any]:
    """Return `rows` of one page, their `count`, and the `tabs` with their counts.

    The tabs are counted under the rest of the filter, so they say what a click would show.
    """
    with known_prices(reader, terms.prices):
        return counted_page(
            reader, f"SELECT {_COLUMNS} FROM {_BATCHES} WHERE {_FILTER}",
            *_parameters(reader, wanted), tabs=TABS, tab=wanted.tab,
            order=order_by(SORTS, choice, then="batch_id"), choice=choice,
        )  # fmt: skip


def batch_ids_matching(reader: Transaction, wanted: BatchFilter, *, terms: Terms) -> list[int]:
    """Return the numbers of all batches under the filter, oldest first."""
    with known_prices(reader, terms.prices):
        rows = reader.rows(
            f"SELECT batch_id FROM {_BATCHES} WHERE {_FILTER} AND {TABS[wanted.tab]} "
            "ORDER BY batch_id",
            *_parameters(reader, wanted),
        )
    return [row["batch_id"] for row in rows]


def gathering(reader: Transaction, *, terms: Terms) -> list[dict[str, Any]]:
    """Return each lane in which requests gather for a batch, the one to be sent next first.

    `sent_at_latest` is when its oldest wait ends, None while everything in it is paused;
    `filled_share` is how much of one batch's limits is reached.
    """
    rows = reader.rows(
        f"""
        SELECT lane_id, account, endpoint, model, learned_limit, lanes.paused, wait_reason,
            wait_detail, waiting_since, backoff_until, sum(grouped.requests)::BIGINT AS requests,
            sum(bytes)::BIGINT AS bytes, sum(tokens)::BIGINT AS tokens,
            sum(embedding_inputs)::BIGINT AS embedding_inputs, min(oldest) AS oldest_at,
            bool_and(jobs.paused) AS all_jobs_paused,
            coalesce(bool_or(flush_requested_at >= oldest), false) AS flush_requested,
            min(CASE WHEN NOT jobs.paused THEN oldest + to_microseconds((least(coalesce(
                max_wait_seconds, ?), {LONGEST_WAIT_SECONDS}) * 1e6)::BIGINT) END)
                AS sent_at_latest
        FROM (SELECT lane_id, job_id, count(*) AS requests, sum(wire_bytes) AS bytes,
                sum(tokens) AS tokens, sum(embedding_inputs) AS embedding_inputs,
                min(accepted_at) AS oldest
            FROM requests WHERE state = 'pending' GROUP BY lane_id, job_id) AS grouped
            JOIN jobs USING (job_id) JOIN lanes USING (lane_id)
        GROUP BY ALL ORDER BY sent_at_latest NULLS LAST, lane_id
        """,
        terms.settings.batch_max_wait_seconds,
    )
    caps = read_token_caps(reader)
    return [_with_share(row, terms, caps) for row in rows]


def models_of_batches(reader: Transaction) -> list[str]:
    """Return the models that there are lanes for, to choose from."""
    return [row["model"] for row in reader.rows("SELECT DISTINCT model FROM lanes ORDER BY model")]


def _parameters(reader: Transaction, wanted: BatchFilter) -> list[object]:
    text = wanted.text.strip() if wanted.text else None
    # Looking through all requests for a job is only worth it where a job is called so.
    has_job = text is not None and bool(
        reader.value("SELECT count(*) FROM jobs WHERE contains(lower(name), lower(?))", text)
    )
    selected = None if wanted.batch_ids is None else list(wanted.batch_ids)
    return [_STATES, text or None, has_job, wanted.state, wanted.model, wanted.job, selected]


def _with_share(lane: dict[str, Any], terms: Terms, caps: Mapping[str, int]) -> dict[str, Any]:
    limits, learned = terms.limits, lane.pop("learned_limit")
    token_limit = terms.limit_in_force(lane["model"], learned=learned, caps=caps).tokens
    shares = [lane["requests"] / limits.requests, lane["bytes"] / limits.bytes]
    shares += [lane["embedding_inputs"] / limits.embedding_inputs]
    shares += [lane["tokens"] / token_limit] if token_limit else []
    return lane | {"token_limit": token_limit, "filled_share": min(1.0, max(shares))}
