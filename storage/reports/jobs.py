"""The jobs page: every job with its progress and money, and one job with all its sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from batching.destinations import shown_text
from storage.ledger import Transaction
from storage.reports.money import JOB_SHARES, PRICED_BATCHES, known_prices
from storage.reports.paging import PageChoice, counted_page, order_by
from storage.reports.terms import Terms

TABS: Final[Mapping[str, str]] = {
    "all": "true",
    "running": "open > 0 OR undelivered > 0",
    "paused": "paused",
    "troubled": "failed > 0 OR rejected > 0 OR exhausted > 0",
    "complete": "completed_at IS NOT NULL",
}
SORTS: Final[Mapping[str, str]] = {
    "created": "created_at",
    "name": "name",
    "requests": "requests",
    "failed": "failed",
    "rejected": "rejected",
    "done": "done_share",
    "completed": "completed_at",
}
_JOBS: Final = """
(SELECT jobs.job_id, name, slug, label, endless, paused, delivery_config, max_wait_seconds,
    created_at, completed_at, flush_requested_at,
    coalesce(requests, 0) AS requests, coalesce(pending, 0) AS pending,
    coalesce(batched, 0) AS batched, coalesce(succeeded, 0) AS succeeded,
    coalesce(failed, 0) AS failed, coalesce(cancelled, 0) AS cancelled,
    coalesce(pending, 0) + coalesce(batched, 0) AS open,
    coalesce(delivered, 0) AS delivered, coalesce(undelivered, 0) AS undelivered,
    coalesce(exhausted, 0) AS exhausted, coalesce(sources, 0) AS sources,
    coalesce(rejected, 0) AS rejected, coalesce(repeated, 0) AS repeated,
    coalesce(requests, 0) + coalesce(rejected, 0) AS received,
    (requests - pending - batched) / nullif(requests, 0) AS done_share
FROM jobs
LEFT JOIN (
    SELECT job_id, sum(n)::BIGINT AS requests,
        coalesce(sum(n) FILTER (WHERE state = 'pending'), 0)::BIGINT AS pending,
        coalesce(sum(n) FILTER (WHERE state = 'batched'), 0)::BIGINT AS batched,
        coalesce(sum(n) FILTER (WHERE state = 'succeeded'), 0)::BIGINT AS succeeded,
        coalesce(sum(n) FILTER (WHERE state = 'failed'), 0)::BIGINT AS failed,
        coalesce(sum(n) FILTER (WHERE state = 'cancelled'), 0)::BIGINT AS cancelled
    FROM (SELECT job_id, state, count(*) AS n FROM requests GROUP BY job_id, state)
    GROUP BY job_id) AS counts USING (job_id)
LEFT JOIN (
    SELECT job_id, sum(rows) FILTER (WHERE state = 'delivered')::BIGINT AS delivered,
        sum(rows) FILTER (WHERE state = 'pending')::BIGINT AS undelivered,
        sum(rows) FILTER (WHERE state = 'exhausted')::BIGINT AS exhausted
    FROM (SELECT job_id, rows, state FROM parts UNION ALL SELECT job_id, 1, state FROM deliveries)
    GROUP BY job_id) AS brought USING (job_id)
LEFT JOIN (
    SELECT job_id, count(DISTINCT source_id) AS sources, sum(rejected)::BIGINT AS rejected,
        sum(repeated)::BIGINT AS repeated
    FROM sources GROUP BY job_id) AS read USING (job_id))
"""
_FILTER: Final = "($1::VARCHAR IS NULL OR contains(lower(name), lower($1)))"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs are wanted."""

    text: str | None = None
    """In the name."""
    tab: str = "all"
    """One of `TABS`."""


def jobs_view(
    reader: Transaction, wanted: JobFilter, choice: PageChoice, *, terms: Terms
) -> dict[str, Any]:
    """Return `rows` of one page, their `count`, and the `tabs` with their counts.

    `received` counts accepted requests and rejected lines of files. What receivers took in
    belongs to no file, so its refused lines are counted nowhere: their senders were told.
    """
    found = counted_page(
        reader, f"SELECT * FROM {_JOBS} WHERE {_FILTER}", wanted.text or None,
        tabs=TABS, tab=wanted.tab, order=order_by(SORTS, choice, then="job_id"), choice=choice,
    )  # fmt: skip
    _add_money(reader, found["rows"], terms)
    _add_kinds(reader, found["rows"])
    _hide_secrets(found["rows"])
    return found


def job_report(reader: Transaction, name: str, *, terms: Terms) -> dict[str, Any] | None:
    """Return one job with its `sources`, `files`, `models` and `errors`; None if there is none."""
    row = reader.row(f"SELECT * FROM {_JOBS} WHERE name = ?", name)
    if row is None:
        return None
    _add_money(reader, [row], terms)
    _add_kinds(reader, [row])
    _hide_secrets([row])
    number = row["job_id"]
    return row | {
        "source_list": reader.rows(_SOURCES, number),
        "files": reader.rows(_FILES, number),
        "models": reader.rows(_MODELS, number),
        "errors": reader.rows(_ERRORS, number),
    }


_SOURCES: Final = """
SELECT source_id, part, name, outcome, reason, content_hash, end_offset - start_offset AS bytes,
    end_line AS lines, accepted, rejected, repeated, taken_in_at,
    CASE WHEN rejected > 0 THEN source_id || '__' || name
        || CASE WHEN part > 1 THEN '-' || part ELSE '' END || '.jsonl' END AS rejected_file
FROM sources WHERE job_id = ? ORDER BY taken_in_at DESC, part DESC LIMIT 1000
"""
_FILES: Final = """
SELECT folder, file, sum(rows)::BIGINT AS results, max(end_offset) AS bytes,
    min(delivered_at) AS first_delivered_at, max(delivered_at) AS last_delivered_at
FROM parts WHERE job_id = ? AND state = 'delivered' AND file IS NOT NULL
GROUP BY folder, file ORDER BY folder DESC, file LIMIT 1000
"""
_MODELS: Final = """
SELECT model, endpoint, count(*) AS requests,
    count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
    sum(requests.tokens)::BIGINT AS estimated_tokens,
    sum(input_tokens)::BIGINT AS input_tokens, sum(cached_tokens)::BIGINT AS cached_tokens,
    sum(output_tokens)::BIGINT AS output_tokens, sum(reasoning_tokens)::BIGINT AS reasoning_tokens
FROM requests JOIN lanes USING (lane_id) WHERE job_id = ?
GROUP BY model, endpoint ORDER BY requests DESC, model
"""
_ERRORS: Final = """
SELECT error_code, status_code, count(*) AS requests FROM requests
WHERE job_id = ? AND state IN ('failed', 'cancelled')
GROUP BY error_code, status_code ORDER BY requests DESC, error_code LIMIT 50
"""
_KIND: Final = """
CASE WHEN name LIKE 'web-%.obmlog' OR name LIKE 'dashboard-%.obmlog' THEN 'rest'
    WHEN name LIKE 'consumer-%.obmlog' THEN 'rabbitmq' ELSE 'file' END
"""


def _hide_secrets(jobs: Sequence[dict[str, Any]]) -> None:
    for job in jobs:
        job["delivery_config"] = shown_text(job["delivery_config"])


def _add_money(reader: Transaction, jobs: Sequence[dict[str, Any]], terms: Terms) -> None:
    """Add what the jobs' shares of their batches cost; None where no price is known."""
    with known_prices(reader, terms.prices):
        rows = reader.rows(
            f"""
            SELECT job_id, sum(cost_usd * share) AS cost_usd,
                sum(synchronous_usd * share) AS synchronous_usd,
                sum((synchronous_usd - cost_usd) * share) AS saved_usd,
                count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_batches
            FROM {JOB_SHARES} JOIN {PRICED_BATCHES} USING (batch_id)
            WHERE state = 'collected' AND list_contains(?, job_id) GROUP BY job_id
            """,
            [job["job_id"] for job in jobs],
        )
    found = {row.pop("job_id"): row for row in rows}
    unknown = {"cost_usd": None, "synchronous_usd": None, "saved_usd": None, "unpriced_batches": 0}
    for job in jobs:
        job.update(found.get(job["job_id"], unknown))


def _add_kinds(reader: Transaction, jobs: Sequence[dict[str, Any]]) -> None:
    """Add by which doors the requests came in.

    Logs of two receivers that were taken in together count as the first one's.
    """
    rows = reader.rows(
        f"""
        SELECT job_id, list(DISTINCT kind ORDER BY kind) AS kinds FROM (
            SELECT DISTINCT job_id, segment FROM requests WHERE list_contains($1, job_id))
            JOIN segments USING (segment)
            JOIN (SELECT source_id, {_KIND} AS kind FROM sources) USING (source_id)
        GROUP BY job_id
        """,
        [job["job_id"] for job in jobs],
    )
    kinds = {row["job_id"]: row["kinds"] for row in rows}
    for job in jobs:
        job["kinds"] = kinds.get(job["job_id"], [])
