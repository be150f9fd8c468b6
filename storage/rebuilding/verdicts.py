"""What follows from the files for requests, batches and results."""

from collections.abc import Sequence

from storage.ledger import Transaction, now
from storage.outbox import HELD_UNTIL
from storage.provider_files import dispose_of_files
from storage.rebuilding.evidence import Manifest, ResultFile
from storage.results import CostOf
from storage.submission_lock import note_batch_number

ACTOR = "rebuild"


def settle_requests(transaction: Transaction, results: Sequence[ResultFile]) -> int:
    """Give requests the state that the files tell; return how many results that were."""
    collected = [file.result_id for file in results if file.result_id > 0]
    ended = transaction.execute(
        """
        UPDATE requests SET state = final.status, result_id = final.result_id,
            batch_id = CASE WHEN final.result_id > 0 THEN final.result_id END,
            result_bytes = final.size, status_code = final.status_code,
            error_code = final.error_code, input_tokens = final.input_tokens,
            cached_tokens = final.cached_tokens, output_tokens = final.output_tokens,
            reasoning_tokens = final.reasoning_tokens, cancel_requested = false,
            attempts = least(coalesce(final.attempts, 0) + (final.result_id > 0)::INTEGER, 255),
            finished_at = $1::TIMESTAMP
        FROM final WHERE requests.segment = final.segment
            AND requests.row_index = final.row_index
        """,
        now(),
    )
    transaction.execute(
        """
        UPDATE requests SET state = 'batched', batch_id = latest.batch_id, result_id = NULL,
            result_bytes = NULL, finished_at = NULL, status_code = NULL, error_code = NULL,
            attempts = least(latest.attempts, 255)
        FROM (SELECT * FROM latest ANTI JOIN final USING (segment, row_index)) AS latest
        WHERE requests.segment = latest.segment AND requests.row_index = latest.row_index
        """
    )
    # Whoever is in a collected batch and has no result went back to its lane. It may have been
    # paid, so it counts as tried.
    transaction.execute(
        "UPDATE requests SET state = 'pending', batch_id = NULL, "
        "attempts = least(attempts + 1, 255) "
        "WHERE state = 'batched' AND list_contains(?, batch_id)",
        collected,
    )
    return ended


def add_results(transaction: Transaction, results: Sequence[ResultFile]) -> None:
    """Record the result files, the parts of them that go to files, and what is to be pushed.

    The parts are held back until they have been looked for in the outbox.
    """
    for file in sorted(results, key=lambda each: (each.written_at, each.result_id)):
        transaction.execute(
            """
            INSERT INTO results BY NAME SELECT $1::INTEGER AS result_id,
                CASE WHEN $1 > 0 THEN $1::INTEGER END AS batch_id,
                (SELECT count(*) FROM answered WHERE result_id = $1) AS rows,
                $2::BIGINT AS bytes, $3::TIMESTAMP AS recorded_at,
                (SELECT coalesce(max(sequence), 0) + 1 FROM results) AS sequence
            """,
            file.result_id, file.path.stat().st_size, file.written_at,
        )  # fmt: skip
    transaction.execute(
        f"""
        INSERT INTO parts BY NAME
        SELECT (SELECT coalesce(max(part_id), 0) FROM parts)
                + row_number() OVER (ORDER BY sequence, job_id) AS part_id,
            job_id, result_id, 'pending' AS state, found.rows, recorded_at AS created_at,
            0 AS attempts, TIMESTAMP '{HELD_UNTIL}' AS next_attempt_at
        FROM (SELECT result_id, job_id, count(*) AS rows FROM answered WHERE destination_id = 0
            GROUP BY result_id, job_id) AS found
        JOIN results USING (result_id)
        -- What retention has forgotten is not delivered again.
        SEMI JOIN requests USING (job_id)
        """
    )
    transaction.execute(
        """
        INSERT INTO deliveries BY NAME
        SELECT (SELECT coalesce(max(delivery_id), 0) FROM deliveries)
                + row_number() OVER (ORDER BY segment, row_index) AS delivery_id,
            job_id, segment, row_index, result_id, destination_id, 'pending' AS state,
            $1::TIMESTAMP AS created_at, 0 AS attempts
        FROM requests WHERE result_id IS NOT NULL AND destination_id <> 0
            AND result_id IN (SELECT DISTINCT result_id FROM answered)
        """,
        now(),
    )


def add_batches(transaction: Transaction, manifests: Sequence[Manifest], account: str) -> None:
    """Record the batches of which the ledger knew nothing, all of them as not created yet."""
    for manifest in manifests:
        lane = _lane(transaction, manifest, account)
        if lane is None:
            note_batch_number(transaction, manifest.batch_id)
            continue
        transaction.execute(
            """
            INSERT INTO batches BY NAME
            SELECT $1::INTEGER AS batch_id, $2::INTEGER AS lane_id, 'planned' AS state,
                'found again' AS closed_because, count(*)::INTEGER AS requests,
                coalesce(sum(wire_bytes), 0)::BIGINT AS bytes,
                coalesce(sum(tokens), 0)::BIGINT AS tokens,
                coalesce(sum(expected_output_tokens), 0)::BIGINT AS expected_output_tokens,
                coalesce(sum(embedding_inputs), 0)::BIGINT AS embedding_inputs,
                0 AS create_attempt, 0 AS token_refusals, 0 AS failures,
                false AS cancel_requested, $3::TIMESTAMP AS planned_at
            FROM sent LEFT JOIN requests USING (segment, row_index) WHERE sent.batch_id = $1
            """,
            manifest.batch_id, lane, manifest.written_at,
        )  # fmt: skip
        transaction.record_move(
            "batch", manifest.batch_id, "planned", reason="its manifest was found", actor=ACTOR
        )


def _lane(transaction: Transaction, manifest: Manifest, account: str) -> int | None:
    """Return the lane of a batch, begun if need be; None if nothing of the batch is known."""
    row = transaction.row(
        "SELECT account, endpoint, model FROM sent JOIN requests USING (segment, row_index) "
        "JOIN lanes USING (lane_id) WHERE sent.batch_id = ? LIMIT 1",
        manifest.batch_id,
    )
    if row is None and manifest.endpoint is None:
        return None
    known = row or {}
    wanted = (
        manifest.account or known.get("account") or account,
        manifest.endpoint or known["endpoint"],
        manifest.model or known["model"],
    )
    transaction.execute(
        "INSERT INTO lanes SELECT (SELECT coalesce(max(lane_id), 0) + 1 FROM lanes), $1, $2, $3, "
        "NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, false WHERE NOT EXISTS "
        "(SELECT 1 FROM lanes WHERE account = $1 AND endpoint = $2 AND model = $3)",
        *wanted,
    )
    return int(
        transaction.value(
            "SELECT lane_id FROM lanes WHERE account = ? AND endpoint = ? AND model = ?", *wanted
        )
    )


def settle_batches(
    transaction: Transaction, results: Sequence[ResultFile], *, cost_of: CostOf
) -> int:
    """Move batches to where the files show them; return how many may live at the provider.

    Of one that is neither collected nor given up nobody knows how far it came, nor how often it
    was created: it counts as being created until the account's list has told.
    """
    for file in results:
        if file.result_id > 0:
            _collected(transaction, file, cost_of)
    transaction.execute(
        """
        UPDATE batches SET state = 'failed', fault_code = 'superseded', succeeded = 0, failed = 0,
            cancelled = 0, returned = requests, odd_lines = 0, finished_at = $1::TIMESTAMP,
            cost_usd = 0, fault_message = 'all of its requests went on in later batches'
        WHERE state NOT IN ('collected', 'failed', 'cancelled') AND batch_id NOT IN (
            SELECT batch_id FROM requests WHERE state = 'batched')
        """,
        now(),
    )
    transaction.execute(_OWN_FIGURES)
    return transaction.execute(
        """
        UPDATE batches SET state = 'submitting', create_attempt = 0, input_file_id = NULL,
            provider_id = NULL, provider_status = NULL, not_before = NULL, failures = 0,
            first_absent_at = NULL, post_ended_at = $1::TIMESTAMP, intent_at = coalesce(
                (SELECT max(accepted_at) FROM requests
                    WHERE requests.batch_id = batches.batch_id), planned_at)
        WHERE state IN ('planned', 'uploaded', 'submitting')
        """,
        now(),
    )


_OWN_FIGURES = """
UPDATE batches SET requests = own.requests, bytes = own.bytes, tokens = own.tokens,
    expected_output_tokens = own.output_tokens, embedding_inputs = own.inputs
FROM (
    SELECT batch_id, count(*)::INTEGER AS requests, sum(wire_bytes)::BIGINT AS bytes,
        sum(tokens)::BIGINT AS tokens, sum(expected_output_tokens)::BIGINT AS output_tokens,
        sum(embedding_inputs)::BIGINT AS inputs
    FROM requests WHERE state = 'batched' GROUP BY batch_id) AS own
WHERE batches.batch_id = own.batch_id
"""


def _collected(transaction: Transaction, file: ResultFile, cost_of: CostOf) -> None:
    model = transaction.value(
        "SELECT model FROM batches JOIN lanes USING (lane_id) WHERE batch_id = ?", file.result_id
    )
    if model is None:
        return
    usage = transaction.frame(
        "SELECT input_tokens, cached_tokens, output_tokens, reasoning_tokens FROM answered "
        "WHERE result_id = ? AND input_tokens IS NOT NULL",
        file.result_id,
    )
    transaction.execute(
        """
        UPDATE batches SET state = 'collected', finished_at = $2::TIMESTAMP,
            succeeded = found.succeeded, failed = found.failed, cancelled = found.cancelled,
            returned = greatest(requests - found.answered, 0), odd_lines = 0,
            input_tokens = found.input_tokens, cached_tokens = found.cached_tokens,
            output_tokens = found.output_tokens, reasoning_tokens = found.reasoning_tokens,
            ended_at = coalesce(ended_at, $2::TIMESTAMP),
            submitted_at = coalesce(submitted_at, planned_at), cost_usd = $3
        FROM (SELECT count(*) AS answered,
                count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
                count(*) FILTER (WHERE status = 'failed') AS failed,
                count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
                coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
                coalesce(sum(cached_tokens), 0)::BIGINT AS cached_tokens,
                coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens,
                coalesce(sum(reasoning_tokens), 0)::BIGINT AS reasoning_tokens
            FROM answered WHERE result_id = $1) AS found
        WHERE batch_id = $1 AND state NOT IN ('collected', 'cancelled', 'failed')
        """,
        file.result_id, file.written_at, cost_of(model, usage),
    )  # fmt: skip
    dispose_of_files(transaction, file.result_id)
    transaction.record_move(
        "batch", file.result_id, "collected", reason="its results were found", actor=ACTOR
    )
