"""Refused batches that go again in pieces: their requests move to new batches at once.

A refused batch never ran, so nothing of it can be paid twice. Everything is one transaction: a
crash finds either the whole batch or its pieces, which are batches like any other.
"""

from batching.lifecycle import BatchState
from storage.batches import Batch
from storage.endings import Ending, close_refused
from storage.ledger import Transaction, now
from storage.submission_lock import last_batch_number


def count_pieces(reader: Transaction, batch: Batch) -> tuple[int, int]:
    """Return how many pieces of the same first batch were refused, and how many accepted."""
    row = reader.row(
        """
        WITH first AS (
            SELECT coalesce(split_of, batch_id) AS batch_id FROM batches WHERE batch_id = ?)
        SELECT count(*) FILTER (WHERE state = 'failed') AS refused,
            count(*) FILTER (WHERE in_progress_at IS NOT NULL
                OR state IN ('ended', 'collected')) AS accepted
        FROM batches, first WHERE first.batch_id IN (batches.batch_id, batches.split_of)
        """,
        batch.batch_id,
    )
    return (row["refused"], row["accepted"]) if row else (0, 0)


def split_batch(
    transaction: Transaction, batch: Batch, ending: Ending, *, pieces: int
) -> list[int]:
    """End the batch as refused; its requests go again as so many new batches.

    Returns their numbers; there are fewer if there are fewer requests, and none if the batch
    has ended already. Requests that are to be cancelled end here.
    """
    return close_refused(
        transaction, batch, ending, take_over=lambda: _move_on(transaction, batch, pieces)
    )


def _move_on(transaction: Transaction, batch: Batch, pieces: int) -> list[int]:
    first = last_batch_number(transaction) + 1
    transaction.execute(
        """
        UPDATE requests SET batch_id = placed.batch_id
        FROM (
            SELECT rowid AS place,
                $2 - 1 + ntile($3) OVER (ORDER BY segment, row_index) AS batch_id
            FROM requests WHERE batch_id = $1 AND state = 'batched') AS placed
        WHERE requests.rowid = placed.place
        """,
        batch.batch_id, first, pieces,
    )  # fmt: skip
    transaction.execute(
        """
        INSERT INTO batches BY NAME
        SELECT pieces.*, refused.lane_id, 'planned' AS state, 'split' AS closed_because,
            floor(refused.expected_cost_usd * 1000000
                * (pieces.tokens + pieces.expected_output_tokens)
                / greatest(refused.tokens + refused.expected_output_tokens, 1)) / 1000000
                AS expected_cost_usd,
            0 AS create_attempt, 0 AS token_refusals, 0 AS failures, false AS cancel_requested,
            $2::TIMESTAMP AS planned_at,
            coalesce(refused.split_of, refused.batch_id) AS split_of
        FROM batches AS refused, (
            SELECT batch_id, count(*)::INTEGER AS requests, sum(wire_bytes)::BIGINT AS bytes,
                sum(tokens)::BIGINT AS tokens,
                sum(expected_output_tokens)::BIGINT AS expected_output_tokens,
                sum(embedding_inputs)::BIGINT AS embedding_inputs
            FROM requests WHERE batch_id >= $3 AND state = 'batched' GROUP BY batch_id) AS pieces
        WHERE refused.batch_id = $1
        """,
        batch.batch_id, now(), first,
    )  # fmt: skip
    made = transaction.rows(
        "SELECT batch_id FROM batches WHERE batch_id >= ? ORDER BY batch_id", first
    )
    for row in made:
        transaction.record_move(
            "batch", row["batch_id"], BatchState.PLANNED,
            reason=f"piece of batch {batch.batch_id}, which was refused",
        )  # fmt: skip
    return [row["batch_id"] for row in made]
