"""A ledger of made-up requests for the reports, with rows as the pipeline leaves them."""

from pathlib import Path
from typing import Final

from storage.directory import DataDirectory
from storage.ledger import Ledger, Transaction, now

DAYS: Final = 14
JOBS: Final = 40
REQUESTS_A_BATCH: Final = 5_000
TARGETS: Final = 6
_MODELS: Final = ("gpt-4o-mini", "gpt-4o", "gpt-5.6", "text-embedding-3-small", "local-model")
_OPEN_BATCHES: Final = 6
_LATEST_PENDING_SHARE: Final = 0.02


def fill_ledger(root: Path, *, requests: int) -> DataDirectory:
    """Make a data directory whose ledger holds so many requests of two weeks, and return it.

    Half go to files, half to pushed destinations with a delivery and an attempt each; the newest
    are pending, the batches before them open, everything else has ended.
    """
    directory = DataDirectory(root)
    directory.create()
    ledger = Ledger.open(directory)
    with ledger.transaction() as transaction:
        _lanes_and_jobs(transaction)
        _destinations(transaction)
        _requests(transaction, requests)
        _batches(transaction)
        _results(transaction)
        _deliveries(transaction)
        _transitions(transaction)
    return directory


def _lanes_and_jobs(transaction: Transaction) -> None:
    for number, model in enumerate(_MODELS, start=1):
        endpoint = "/v1/embeddings" if "embedding" in model else "/v1/chat/completions"
        transaction.execute(
            "INSERT INTO lanes VALUES (?, 'default@http://provider', ?, ?, ?, NULL, NULL, 0, NULL, "
            "'capacity', 'enqueued tokens are in use', ?, false)",
            number, endpoint, model, 2_000_000_000, now(),
        )  # fmt: skip
    transaction.execute(
        "INSERT INTO jobs SELECT n + 1, 'job ' || n, 'job-' || n, NULL, n = 0, false, NULL, NULL, "
        "$1::TIMESTAMP - to_days(14), NULL, NULL FROM range($2) AS t(n)",
        now(), JOBS,
    )  # fmt: skip
    transaction.execute(
        "INSERT INTO sources SELECT 's' || n, 1, 'file-' || n || '.jsonl', n % $2 + 1, 'taken_in', "
        "NULL, 'hash' || n, 0, 1000, 100, 90, n % 7, 0, $1::TIMESTAMP - to_hours(n::INTEGER) "
        "FROM range(300) AS t(n)",
        now(), JOBS,
    )  # fmt: skip


def _destinations(transaction: Transaction) -> None:
    transaction.execute(
        'INSERT INTO destinations SELECT n, \'{"type":"webhook","webhook_url":"https://h\' || n '
        "|| '.example/hook\"}', 'webhook', 'webhook:https://h' || n || '.example:443', "
        "now()::TIMESTAMP, NULL, NULL FROM range(1, $1) AS t(n)",
        TARGETS + 1,
    )
    transaction.execute(
        "INSERT INTO targets SELECT target, kind, NULL, 0, CASE WHEN destination_id = 1 "
        "THEN now()::TIMESTAMP - to_hours(5) END, now()::TIMESTAMP, 'success', NULL, NULL "
        "FROM destinations WHERE destination_id > 0"
    )


def _requests(transaction: Transaction, count: int) -> None:
    """Insert the requests: accepted evenly over the days, batched in their order."""
    pending_from = int(count * (1 - _LATEST_PENDING_SHARE))
    open_from = pending_from - _OPEN_BATCHES * REQUESTS_A_BATCH
    transaction.execute(
        """
        INSERT INTO requests BY NAME
        SELECT n // 100000 + 1 AS segment, n % 100000 AS row_index,
            (n // 2500) % $4 + 1 AS job_id, (n // $3) % 5 + 1 AS lane_id,
            'order-' || lpad(n::VARCHAR, 9, '0') AS custom_id, hash(n) AS id_hash,
            hash(n + 1) AS payload_hash, 900 + n % 300 AS wire_bytes, 200 + n % 90 AS tokens,
            100 AS expected_output_tokens, 0 AS embedding_inputs,
            $1::TIMESTAMP - to_microseconds((($2 - n) * ($5 * 86400e6 / $2))::BIGINT)
                AS accepted_at,
            CASE WHEN n >= $6 THEN 'pending' WHEN n >= $7 THEN 'batched'
                WHEN hash(n * 7) % 50 = 0 THEN 'failed' WHEN hash(n * 7) % 200 = 3
                THEN 'cancelled' ELSE 'succeeded' END AS state,
            false AS cancel_requested, CASE WHEN n < $6 THEN n // $3 + 1 END AS batch_id,
            1 AS attempts, 0 AS returns,
            CASE WHEN n < $7 THEN least($1::TIMESTAMP, $1::TIMESTAMP - to_microseconds(
                (($2 - n) * ($5 * 86400e6 / $2))::BIGINT)
                + to_seconds((hash(n * 3) % 40000)::INTEGER))
                END AS finished_at,
            CASE WHEN n < $7 THEN n // $3 + 1 END AS result_id,
            CASE WHEN n < $7 THEN 800 END AS result_bytes,
            CASE WHEN n >= $7 THEN NULL WHEN hash(n * 7) % 50 = 0 THEN 400 ELSE 200 END
                AS status_code,
            CASE WHEN n < $7 AND hash(n * 7) % 50 = 0 THEN ['rate_limit_exceeded',
                'invalid_value', 'server_error', 'obm_results_missing'][
                (1 + hash(n) % 4)::INTEGER] END AS error_code,
            CASE WHEN n < $7 THEN 180 + n % 90 END AS input_tokens,
            CASE WHEN n < $7 THEN n % 60 END AS cached_tokens,
            CASE WHEN n < $7 THEN 60 + n % 120 END AS output_tokens,
            CASE WHEN n < $7 THEN n % 40 END AS reasoning_tokens,
            CASE WHEN (n // 2500) % 2 = 0 THEN 0 ELSE (n // 2500) % $8 + 1 END AS destination_id
        FROM range($2) AS t(n)
        """,
        now(), count, REQUESTS_A_BATCH, JOBS, DAYS, pending_from, open_from, TARGETS,
    )  # fmt: skip


def _batches(transaction: Transaction) -> None:
    transaction.execute(
        """
        INSERT INTO batches BY NAME
        SELECT batch_id, any_value(lane_id) AS lane_id,
            CASE WHEN bool_or(state = 'batched') THEN 'submitted' ELSE 'collected' END AS state,
            'full' AS closed_because, count(*) AS requests, sum(wire_bytes) AS bytes,
            sum(tokens) AS tokens, sum(expected_output_tokens) AS expected_output_tokens,
            0 AS embedding_inputs, 0.5 AS expected_cost_usd, 1 AS create_attempt,
            0 AS token_refusals, 0 AS failures, 'batch_' || batch_id AS provider_id,
            'completed' AS provider_status, count(*) AS provider_total,
            count(*) AS provider_completed, 0 AS provider_failed, false AS cancel_requested,
            max(accepted_at) AS planned_at, max(accepted_at) AS uploaded_at,
            max(accepted_at) AS submitted_at, max(finished_at) AS ended_at,
            max(finished_at) AS finished_at, count(*) FILTER (WHERE state = 'succeeded')
                AS succeeded, count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
            CASE WHEN batch_id % 30 = 0 THEN 12 ELSE 0 END AS returned, 0 AS odd_lines,
            sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
            sum(output_tokens) AS output_tokens, sum(reasoning_tokens) AS reasoning_tokens,
            CASE WHEN any_value(lane_id) <> 5 AND NOT bool_or(state = 'batched')
                THEN sum(input_tokens) * 0.000001 END AS cost_usd
        FROM requests WHERE batch_id IS NOT NULL GROUP BY batch_id
        """
    )


def _results(transaction: Transaction) -> None:
    transaction.execute(
        """
        INSERT INTO results BY NAME
        SELECT batch_id AS result_id, batch_id, requests AS rows, bytes,
            finished_at AS recorded_at, batch_id AS sequence
        FROM batches WHERE state = 'collected'
        """
    )
    transaction.execute(
        """
        INSERT INTO parts BY NAME
        SELECT row_number() OVER (ORDER BY result_id, job_id) AS part_id, job_id, result_id,
            'delivered' AS state, count(*) AS rows, max(finished_at) AS created_at, 0 AS attempts,
            'job' AS folder, 'results.jsonl' AS file, 0 AS start_offset, 1 AS end_offset,
            max(finished_at) AS delivered_at
        FROM requests WHERE result_id IS NOT NULL AND destination_id = 0
        GROUP BY result_id, job_id
        """
    )


def _deliveries(transaction: Transaction) -> None:
    transaction.execute(
        """
        INSERT INTO deliveries BY NAME
        SELECT row_number() OVER (ORDER BY segment, row_index) AS delivery_id, job_id, segment,
            row_index, result_id, destination_id,
            CASE WHEN hash(row_index) % 100 = 0 THEN 'exhausted' WHEN hash(row_index) % 100 = 1
                THEN 'pending' ELSE 'delivered' END AS state,
            finished_at AS created_at, 1 AS attempts,
            CASE WHEN hash(row_index) % 100 < 2 THEN 'http_status_not_2xx' ELSE 'success' END
                AS outcome,
            CASE WHEN hash(row_index) % 100 < 2 THEN 'it answered 500: sorry' END AS problem,
            finished_at
        FROM requests WHERE result_id IS NOT NULL AND destination_id <> 0
        """
    )
    transaction.execute(
        """
        INSERT INTO attempts
        SELECT delivery_id, 1, created_at, outcome, CASE WHEN outcome = 'success' THEN 200
            ELSE 500 END, (20 + hash(delivery_id) % 400)::INTEGER, problem FROM deliveries
        """
    )


def _transitions(transaction: Transaction) -> None:
    transaction.execute(
        """
        INSERT INTO transitions
        SELECT planned_at + to_minutes(n), 'batch', batch_id::VARCHAR, NULL,
            ['planned', 'uploaded', 'submitting', 'submitted', 'ended', 'collected'][n + 1],
            NULL, 'pipeline'
        FROM batches, range(6) AS t(n) WHERE n < 4 OR state = 'collected'
        """
    )
