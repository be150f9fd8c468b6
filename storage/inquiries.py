"""What people ask about what they brought: read-only questions to a snapshot."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import duckdb

from batching.errors import ConfigurationError
from storage.ledger import Transaction, migrations


def check_schema(reader: Transaction) -> None:
    """Raise ConfigurationError unless this version can read the ledger."""
    try:  # looking for the table first would cost three times as much
        found = reader.value("SELECT value FROM meta WHERE key = 'schema_version'")
    except duckdb.CatalogException:
        found = 0
    known = len(migrations())
    if int(found or 0) > known:
        raise ConfigurationError(
            f"the ledger was written by a newer version (schema {found}, this version knows "
            f"{known}): install that version again, or point OBM_DATA_DIR at another folder"
        )
    if int(found or 0) < known:
        raise ConfigurationError(
            f"the ledger was written by an older version (schema {found}, this version needs "
            f"{known}): start `obm up` once, which brings it up to date"
        )


def jobs_with_content(reader: Transaction, content_hashes: Collection[str]) -> dict[str, str]:
    """Return, for each of these contents that was taken in before, the job that has it."""
    rows = reader.rows(
        "SELECT content_hash, any_value(jobs.name) AS job FROM sources JOIN jobs USING (job_id) "
        "WHERE list_contains(?, content_hash) AND outcome = 'taken_in' GROUP BY content_hash",
        list(content_hashes),
    )
    return {row["content_hash"]: row["job"] for row in rows}


def sources_since(
    reader: Transaction, names: Collection[str], *, since: datetime
) -> list[dict[str, Any]]:
    """Return what became of files that had these names in the inbox and were read since then."""
    return reader.rows(
        "SELECT sources.name, outcome, reason, job_id, jobs.name AS job, accepted, rejected "
        "FROM sources LEFT JOIN jobs USING (job_id) "
        "WHERE list_contains(?, sources.name) AND taken_in_at >= ? ORDER BY taken_in_at",
        list(names), since,
    )  # fmt: skip


def story_since(reader: Transaction, since: datetime) -> list[dict[str, Any]]:
    """Return, oldest first, the sources read and the moves of batches and jobs since then."""
    return reader.rows(
        """
        SELECT taken_in_at AS happened_at, 'source' AS entity, sources.name AS name,
            outcome AS event, accepted AS requests, rejected AS failed, NULL AS returned,
            jobs.name AS job, NULL AS model, NULL AS endpoint
        FROM sources LEFT JOIN jobs USING (job_id) WHERE taken_in_at > $1
        UNION ALL
        SELECT happened_at, 'batch', entity_id, target, batches.requests, failed, returned,
            NULL, model, endpoint
        FROM transitions JOIN batches ON batch_id = TRY_CAST(entity_id AS INTEGER)
            JOIN lanes USING (lane_id)
        WHERE entity = 'batch' AND happened_at > $1
        UNION ALL
        SELECT happened_at, 'job', entity_id, target, NULL, NULL, NULL, entity_id, NULL, NULL
        FROM transitions WHERE entity = 'job' AND happened_at > $1
        ORDER BY happened_at
        """,
        since,
    )


def requests_that_ran_again(reader: Transaction) -> int:
    """Return how many requests succeeded after an attempt that did not."""
    found = reader.value("SELECT count(*) FROM requests WHERE state = 'succeeded' AND attempts > 1")
    return int(found or 0)


def unfinished_jobs(reader: Transaction, job_ids: Collection[int]) -> list[dict[str, Any]]:
    """Return those of the jobs that have requests or results still on their way.

    A job that never ends is finished whenever nothing of it is under way.
    """
    return reader.rows(
        """
        SELECT name, coalesce(open, 0) AS open, coalesce(undelivered, 0) AS undelivered,
            coalesce(requests, 0) AS requests, paused
        FROM jobs
        LEFT JOIN (
            SELECT job_id, count(*) AS requests,
                count(*) FILTER (WHERE state IN ('pending', 'batched') OR result_id IS NULL) AS open
            FROM requests GROUP BY job_id) AS counts USING (job_id)
        LEFT JOIN (
            SELECT job_id, count(*) AS undelivered
            FROM (SELECT job_id, state FROM parts
                UNION ALL SELECT job_id, state FROM deliveries)
            WHERE state = 'pending' GROUP BY job_id) AS waiting USING (job_id)
        WHERE list_contains(?, job_id) AND (
            coalesce(open, 0) > 0 OR coalesce(undelivered, 0) > 0
            OR (NOT endless AND completed_at IS NULL))
        ORDER BY job_id
        """,
        list(job_ids),
    )


def unsuccessful_requests(reader: Transaction, job_ids: Collection[int]) -> int:
    """Return how many requests of these jobs ended without success."""
    found = reader.value(
        "SELECT count(*) FROM requests WHERE list_contains(?, job_id) "
        "AND state IN ('failed', 'cancelled')",
        list(job_ids),
    )
    return int(found or 0)


def spending_report(reader: Transaction) -> list[dict[str, Any]]:
    """Return the tokens and the cost of collected batches by model; unpriced ones are counted."""
    return reader.rows(
        """
        SELECT model, count(*) AS batches, sum(batches.requests)::BIGINT AS requests,
            coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
            coalesce(sum(cached_tokens), 0)::BIGINT AS cached_tokens,
            coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens,
            sum(cost_usd) AS cost_usd,
            count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_batches
        FROM batches JOIN lanes USING (lane_id)
        WHERE state = 'collected' GROUP BY model ORDER BY model
        """
    )
