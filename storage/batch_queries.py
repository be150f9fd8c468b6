"""Batches as people ask for them."""

from typing import Any, Final

from storage.ledger import Transaction

_BATCH: Final = """
SELECT batch_id, batches.state, account, endpoint, model, closed_because, requests, bytes, tokens,
    provider_status, provider_id, provider_total, provider_completed, provider_failed,
    input_file_id, output_file_id, error_file_id, cancel_requested, create_attempt,
    token_refusals, failures, not_before, fault_code, fault_message, planned_at, uploaded_at,
    submitted_at, in_progress_at, ended_at, finished_at, last_polled_at, next_poll_at,
    succeeded, failed, cancelled, returned, odd_lines, input_tokens, cached_tokens,
    output_tokens, reasoning_tokens, expected_cost_usd::DOUBLE AS expected_cost_usd,
    cost_usd::DOUBLE AS cost_usd
FROM batches JOIN lanes USING (lane_id)
"""


def batches_page(
    reader: Transaction, *, state: str | None, model: str | None, before: int | None, most: int
) -> list[dict[str, Any]]:
    """Return batches, the newest first, with smaller numbers than `before`."""
    return reader.rows(
        _BATCH + "WHERE ($1::VARCHAR IS NULL OR batches.state = $1) "
        "AND ($2::VARCHAR IS NULL OR model = $2) AND ($3::INTEGER IS NULL OR batch_id < $3) "
        "ORDER BY batch_id DESC LIMIT $4",
        state, model, before, most,
    )  # fmt: skip


def batch_in_full(reader: Transaction, batch_id: int) -> dict[str, Any] | None:
    """Return one batch with what happened to it, oldest first; None if there is none."""
    found = reader.row(_BATCH + "WHERE batch_id = ?", batch_id)
    if found is not None:
        found["transitions"] = reader.rows(
            "SELECT happened_at, source, target, reason, actor FROM transitions "
            "WHERE entity = 'batch' AND entity_id = ? ORDER BY happened_at LIMIT 1000",
            str(batch_id),
        )
    return found


def batch_exists(reader: Transaction, batch_id: int) -> bool:
    """Return whether there is, or ever was, a batch of this number."""
    return bool(reader.value("SELECT count(*) FROM batches WHERE batch_id = ?", batch_id))
