"""Batches on their way to the provider: one verb a transition, guarded by the old state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from batching.lifecycle import BATCH_TRANSITIONS, BatchState, sources_of
from batching.planning import Claim, Wait, decide, expected_cost_usd
from storage.lanes import Lane, SubmissionPolicy, budget_left_usd, read_lanes, record_wait
from storage.ledger import Ledger, Transaction, now


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What the steps need to know about a batch."""

    batch_id: int
    lane_id: int
    account: str
    endpoint: str
    model: str
    state: BatchState
    requests: int
    bytes: int
    tokens: int
    create_attempt: int
    token_refusals: int
    failures: int
    not_before: datetime | None
    input_file_id: str | None
    provider_id: str | None
    intent_at: datetime | None
    post_ended_at: datetime | None
    first_absent_at: datetime | None
    fenced_at: datetime | None
    provider_status: str | None
    output_file_id: str | None
    error_file_id: str | None
    cancel_requested: bool
    submitted_at: datetime | None
    in_progress_at: datetime | None
    ended_at: datetime | None
    next_poll_at: datetime | None
    lost_since: datetime | None
    unreadable_since: datetime | None


_COLUMNS = (
    "batch_id, lane_id, account, endpoint, model, state, requests, bytes, tokens, "
    "create_attempt, token_refusals, failures, not_before, input_file_id, provider_id, "
    "intent_at, post_ended_at, first_absent_at, fenced_at, provider_status, output_file_id, "
    "error_file_id, cancel_requested, submitted_at, in_progress_at, ended_at, next_poll_at, "
    "lost_since, unreadable_since"
)


def read_batches(reader: Transaction, *states: BatchState) -> list[Batch]:
    """Return the batches in these states, oldest first."""
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM batches JOIN lanes USING (lane_id) "
        "WHERE list_contains(?, state) ORDER BY batch_id",
        [state.value for state in states],
    )
    return [_batch(row) for row in rows]


def read_batch_row(reader: Transaction, batch_id: int) -> Batch:
    """Return one batch; raise LookupError if there is none of that id."""
    row = reader.row(
        f"SELECT {_COLUMNS} FROM batches JOIN lanes USING (lane_id) WHERE batch_id = ?", batch_id
    )
    if row is None:
        raise LookupError(f"there is no batch {batch_id}")
    return _batch(row)


def batches_in(ledger: Ledger, *states: BatchState) -> list[Batch]:
    """Return the batches in these states, oldest first, as they are right now."""
    with ledger.transaction() as reader:
        return read_batches(reader, *states)


def batch_of(ledger: Ledger, batch_id: int) -> Batch:
    """Return one batch as it is right now."""
    with ledger.transaction() as reader:
        return read_batch_row(reader, batch_id)


def _batch(row: Mapping[str, Any]) -> Batch:
    return Batch(**{**row, "state": BatchState(row["state"])})


# Claiming ---------------------------------------------------------------------------------


def claim_next(ledger: Ledger, policy: SubmissionPolicy) -> int | None:
    """Claim one batch of the lane whose oldest request waits longest; None if none may go.

    Every other lane gets the reason why it waits. Requests above a certain token limit fail
    here with that reason: no batch could ever hold them.
    """
    at = now()
    with ledger.transaction() as transaction:
        budget_usd = budget_left_usd(transaction, policy, at=at)
        for lane in read_lanes(transaction, policy, at=at):
            decision = decide(lane.view, limits=policy.limits, budget_usd=budget_usd, at=at)
            if isinstance(decision, Claim):
                batch_id = _claim(transaction, lane, decision)
                if batch_id is not None:
                    record_wait(transaction, lane.lane_id, None)
                    return batch_id
                decision = None
            record_wait(transaction, lane.lane_id, decision)
    return None


def explain_waits(ledger: Ledger, policy: SubmissionPolicy) -> dict[int, Wait]:
    """Return why each waiting lane waits, without claiming anything."""
    at = now()
    with ledger.transaction() as reader:
        budget_usd = budget_left_usd(reader, policy, at=at)
        decisions = {
            lane.lane_id: decide(lane.view, limits=policy.limits, budget_usd=budget_usd, at=at)
            for lane in read_lanes(reader, policy, at=at)
        }
    return {lane: wait for lane, wait in decisions.items() if isinstance(wait, Wait)}


_CLAIMABLE = """
CREATE OR REPLACE TEMP TABLE claimable AS
WITH candidate AS (
    SELECT requests.rowid AS place, segment, row_index, wire_bytes, tokens,
        embedding_inputs, expected_output_tokens
    FROM requests JOIN jobs USING (job_id)
    WHERE state = 'pending' AND lane_id = $1 AND NOT jobs.paused
    ORDER BY segment, row_index
    LIMIT $2
)
SELECT place, wire_bytes, tokens, embedding_inputs, expected_output_tokens
FROM (
    SELECT *, sum(wire_bytes) OVER sofar AS bytes_sofar, sum(tokens) OVER sofar AS tokens_sofar,
        sum(embedding_inputs) OVER sofar AS inputs_sofar,
        sum(tokens * $6::DOUBLE + expected_output_tokens * $7::DOUBLE) OVER sofar AS spend_sofar
    FROM candidate
    WINDOW sofar AS (ORDER BY segment, row_index ROWS UNBOUNDED PRECEDING)
)
WHERE bytes_sofar <= $3 AND inputs_sofar <= $4
    AND ($5::BIGINT IS NULL OR tokens_sofar <= $5::BIGINT)
    AND ($8::DOUBLE IS NULL OR spend_sofar <= $8::DOUBLE)
"""


def _claim(transaction: Transaction, lane: Lane, claim: Claim) -> int | None:
    if lane.view.token_limit is not None and lane.view.token_limit_certain:
        _fail_oversized(transaction, lane.lane_id, lane.view.token_limit)
    rates = claim.rates
    transaction.execute(
        _CLAIMABLE,
        lane.lane_id,
        claim.requests,
        claim.bytes,
        claim.embedding_inputs,
        claim.tokens,
        float(rates.input_usd) if rates else 0.0,
        float(rates.output_usd) if rates else 0.0,
        None if claim.spend_usd is None else float(claim.spend_usd),
    )
    totals = transaction.row(
        "SELECT count(*) AS requests, sum(wire_bytes)::BIGINT AS bytes, "
        "sum(tokens)::BIGINT AS tokens, sum(embedding_inputs)::BIGINT AS embedding_inputs, "
        "sum(expected_output_tokens)::BIGINT AS output_tokens FROM claimable"
    )
    if totals is None or totals["requests"] == 0:
        return None
    cost = rates and expected_cost_usd(
        rates, tokens=totals["tokens"], output_tokens=totals["output_tokens"]
    )
    return _plan(transaction, lane.lane_id, claim.reason, totals, cost)


def _plan(
    transaction: Transaction,
    lane_id: int,
    reason: str,
    totals: Mapping[str, Any],
    cost_usd: Decimal | None,
) -> int:
    batch_id = (transaction.value("SELECT max(batch_id) FROM batches") or 0) + 1
    transaction.execute(
        """
        INSERT INTO batches (batch_id, lane_id, state, closed_because, requests, bytes, tokens,
            expected_output_tokens, embedding_inputs, expected_cost_usd, create_attempt,
            token_refusals, failures, cancel_requested, planned_at)
        VALUES (?, ?, 'planned', ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, false, ?)
        """,
        batch_id, lane_id, reason, totals["requests"], totals["bytes"], totals["tokens"],
        totals["output_tokens"], totals["embedding_inputs"], cost_usd, now(),
    )  # fmt: skip
    transaction.execute(
        "UPDATE requests SET state = 'batched', batch_id = ? "
        "WHERE rowid IN (SELECT place FROM claimable) AND state = 'pending'",
        batch_id,
    )
    transaction.record_move("batch", batch_id, BatchState.PLANNED, reason=reason)
    return int(batch_id)


def _fail_oversized(transaction: Transaction, lane_id: int, token_limit: int) -> None:
    transaction.execute(
        "UPDATE requests SET state = 'failed', finished_at = ?, "
        "error_code = 'obm_request_exceeds_token_limit' "
        "WHERE state = 'pending' AND lane_id = ? AND tokens > ?",
        now(), lane_id, token_limit,
    )  # fmt: skip


# Moving -----------------------------------------------------------------------------------


def move(
    transaction: Transaction,
    batch_id: int,
    target: BatchState,
    *,
    reason: str | None = None,
    actor: str = "pipeline",
    **columns: object,
) -> bool:
    """Move a batch and set columns with it; return whether it was in a state that may."""
    allowed = [state.value for state in sources_of(BATCH_TRANSITIONS, target)]
    source = transaction.value("SELECT state FROM batches WHERE batch_id = ?", batch_id)
    if source not in allowed:
        return False
    assignments = "".join(f", {name} = ?" for name in columns)
    transaction.execute(
        f"UPDATE batches SET state = ?{assignments} WHERE batch_id = ? AND state = ?",
        target, *columns.values(), batch_id, source,
    )  # fmt: skip
    transaction.record_move("batch", batch_id, target, source=source, reason=reason, actor=actor)
    return True


def note(ledger: Ledger, batch_id: int, **columns: object) -> None:
    """Set columns of a batch that are no state."""
    with ledger.transaction() as transaction:
        note_in(transaction, batch_id, **columns)


def note_in(transaction: Transaction, batch_id: int, **columns: object) -> None:
    """Set columns of a batch that are no state, as part of a larger transaction."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    transaction.execute(
        f"UPDATE batches SET {assignments} WHERE batch_id = ?", *columns.values(), batch_id
    )


def mark_uploaded(ledger: Ledger, batch: Batch, *, input_file_id: str) -> None:
    """Record that the provider has the input file."""
    with ledger.transaction() as transaction:
        moved = move(
            transaction, batch.batch_id, BatchState.UPLOADED,
            input_file_id=input_file_id, uploaded_at=now(), failures=0, not_before=None,
        )  # fmt: skip
        record_provider_file(
            transaction, batch, input_file_id, purpose="input", disposable=not moved
        )


def mark_submitting(ledger: Ledger, batch_id: int) -> Batch | None:
    """Record the intent to create the batch; None if it is no longer waiting for that."""
    with ledger.transaction() as transaction:
        attempt = transaction.value(
            "SELECT create_attempt FROM batches WHERE batch_id = ?", batch_id
        )
        moved = move(
            transaction, batch_id, BatchState.SUBMITTING,
            create_attempt=attempt + 1, intent_at=now(), post_ended_at=None,
            first_absent_at=None, fenced_at=None, provider_id=None, provider_status=None,
        )  # fmt: skip
        return read_batch_row(transaction, batch_id) if moved else None


def mark_submitted(
    ledger: Ledger, batch_id: int, *, provider_id: str, status: str, reason: str | None = None
) -> bool:
    """Record the provider's id of the batch; it is polled from now on."""
    with ledger.transaction() as transaction:
        return move(
            transaction, batch_id, BatchState.SUBMITTED, reason=reason,
            provider_id=provider_id, provider_status=status, submitted_at=now(),
            next_poll_at=now(), failures=0, not_before=None, lost_since=None,
        )  # fmt: skip


def put_back_to_uploaded(
    transaction: Transaction, batch_id: int, *, reason: str, not_before: datetime
) -> bool:
    """Let the batch be created again later from the same input file."""
    return move(
        transaction, batch_id, BatchState.UPLOADED, reason=reason, not_before=not_before,
        intent_at=None, provider_id=None, provider_status=None,
    )  # fmt: skip


def put_back_to_planned(
    transaction: Transaction, batch: Batch, *, reason: str, not_before: datetime | None = None
) -> bool:
    """Let the batch be uploaded anew; its old input file becomes disposable."""
    moved = move(
        transaction, batch.batch_id, BatchState.PLANNED, reason=reason, not_before=not_before,
        input_file_id=None, intent_at=None, provider_id=None, provider_status=None,
    )  # fmt: skip
    if moved:
        dispose_of_files(transaction, batch.batch_id)
    return moved


def postpone(
    ledger: Ledger, batch: Batch, *, problem: str, pause_seconds: float, code: str | None = None
) -> None:
    """Count a failed try at the batch's present step and say when the next one is due."""
    note(
        ledger, batch.batch_id,
        failures=batch.failures + 1, not_before=now() + timedelta(seconds=pause_seconds),
        fault_code=code, fault_message=problem,
    )  # fmt: skip


# Ends without results ---------------------------------------------------------------------


def return_requests(
    transaction: Transaction, batch: Batch, *, max_returns: int, count: bool, reason: str,
    code: str,
) -> None:  # fmt: skip
    """End the batch as failed; its requests, which never ran, wait for another one.

    `count` says whether that uses up one of a request's returns; those that have used them
    all fail.
    """
    moved = move(
        transaction, batch.batch_id, BatchState.FAILED, reason=reason,
        fault_code=code, fault_message=reason, finished_at=now(), returned=batch.requests,
        succeeded=0, failed=0, cancelled=0, odd_lines=0,
    )  # fmt: skip
    if not moved:
        return
    dispose_of_files(transaction, batch.batch_id)
    step = 1 if count else 0
    transaction.execute(
        "UPDATE requests SET state = 'cancelled', finished_at = ?, "
        "error_code = 'obm_cancelled' "
        "WHERE batch_id = ? AND state = 'batched' AND cancel_requested",
        now(), batch.batch_id,
    )  # fmt: skip
    transaction.execute(
        "UPDATE requests SET state = 'failed', finished_at = ?, "
        "error_code = 'obm_returns_exhausted', returns = returns + 1 "
        "WHERE batch_id = ? AND state = 'batched' AND returns + ? > ?",
        now(), batch.batch_id, step, max_returns,
    )  # fmt: skip
    transaction.execute(
        "UPDATE requests SET state = 'pending', batch_id = NULL, returns = returns + ? "
        "WHERE batch_id = ? AND state = 'batched'",
        step, batch.batch_id,
    )  # fmt: skip


def fail_requests(
    transaction: Transaction, batch: Batch, *, code: str, reason: str, request_code: str
) -> None:
    """End the batch and all its requests as failed."""
    moved = move(
        transaction, batch.batch_id, BatchState.FAILED, reason=reason,
        fault_code=code, fault_message=reason, finished_at=now(), failed=batch.requests,
        succeeded=0, cancelled=0, returned=0, odd_lines=0,
    )  # fmt: skip
    if moved:
        dispose_of_files(transaction, batch.batch_id)
        transaction.execute(
            "UPDATE requests SET state = 'failed', finished_at = ?, error_code = ? "
            "WHERE batch_id = ? AND state = 'batched'",
            now(), request_code, batch.batch_id,
        )  # fmt: skip


# The provider's files ---------------------------------------------------------------------


def record_provider_file(
    transaction: Transaction, batch: Batch, file_id: str, *, purpose: str, disposable: bool
) -> None:
    """Remember a file at the provider, so that it can be deleted when it is no longer needed."""
    known = transaction.value("SELECT count(*) FROM provider_files WHERE file_id = ?", file_id)
    if not known:
        transaction.execute(
            "INSERT INTO provider_files VALUES (?, ?, ?, ?, ?, ?, NULL, 0)",
            file_id, batch.account, batch.batch_id, purpose, now(), disposable,
        )  # fmt: skip


def dispose_of_files(transaction: Transaction, batch_id: int) -> None:
    """Say that the batch's files at the provider are no longer needed."""
    transaction.execute("UPDATE provider_files SET disposable = true WHERE batch_id = ?", batch_id)


def disposable_files(ledger: Ledger, account: str, *, most: int) -> Sequence[str]:
    """Return ids of files of the account that can be deleted at the provider."""
    with ledger.transaction() as reader:
        rows = reader.rows(
            "SELECT file_id FROM provider_files WHERE account = ? AND disposable "
            "AND deleted_at IS NULL AND failures < 10 ORDER BY recorded_at LIMIT ?",
            account, most,
        )  # fmt: skip
    return [row["file_id"] for row in rows]


def mark_files_deleted(
    ledger: Ledger, deleted: Sequence[str], *, failed: Sequence[str] = ()
) -> None:
    """Record which files are gone at the provider and which refused to go."""
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE provider_files SET deleted_at = ? WHERE list_contains(?, file_id)",
            now(), list(deleted),
        )  # fmt: skip
        transaction.execute(
            "UPDATE provider_files SET failures = failures + 1 WHERE list_contains(?, file_id)",
            list(failed),
        )
