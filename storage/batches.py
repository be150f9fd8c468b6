"""Batches on their way to the provider: one verb a transition, guarded by the old state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from batching.lifecycle import BATCH_TRANSITIONS, BatchState, sources_of
from batching.outcomes import Proof
from batching.ownership import read_stamp
from batching.provider import ProviderBatch
from storage.accounts import prove_in
from storage.ledger import Ledger, Transaction, now
from storage.provider_files import dispose_of_files, record_provider_file


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
    provider_status: str | None
    provider_completed: int | None
    output_file_id: str | None
    error_file_id: str | None
    cancel_requested: bool
    uploaded_at: datetime | None
    submitted_at: datetime | None
    in_progress_at: datetime | None
    ended_at: datetime | None
    next_poll_at: datetime | None
    lost_since: datetime | None
    unreadable_since: datetime | None


_COLUMNS = (
    "batch_id, lane_id, account, endpoint, model, state, requests, bytes, tokens, "
    "create_attempt, token_refusals, failures, not_before, input_file_id, provider_id, "
    "intent_at, post_ended_at, first_absent_at, provider_status, provider_completed, "
    "output_file_id, error_file_id, cancel_requested, uploaded_at, submitted_at, "
    "in_progress_at, ended_at, next_poll_at, lost_since, unreadable_since"
)


def read_batches(
    reader: Transaction, *states: BatchState, account: str | None = None
) -> list[Batch]:
    """Return the batches in these states (of one account, or of all), oldest first."""
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM batches JOIN lanes USING (lane_id) "
        "WHERE list_contains($1, state) AND ($2::VARCHAR IS NULL OR account = $2) "
        "ORDER BY batch_id",
        [state.value for state in states],
        account,
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


def batches_in(ledger: Ledger, *states: BatchState, account: str | None = None) -> list[Batch]:
    """Return the batches in these states (of one account, or of all), as they are right now."""
    with ledger.transaction() as reader:
        return read_batches(reader, *states, account=account)


def batch_of(ledger: Ledger, batch_id: int) -> Batch:
    """Return one batch as it is right now."""
    with ledger.transaction() as reader:
        return read_batch_row(reader, batch_id)


def _batch(row: Mapping[str, Any]) -> Batch:
    return Batch(**{**row, "state": BatchState(row["state"])})


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
            transaction, input_file_id, account=batch.account, batch_id=batch.batch_id,
            purpose="input", disposable=not moved,
        )  # fmt: skip


def mark_submitting(
    ledger: Ledger, batch_id: int, *, may_go: Callable[[Transaction], bool] = lambda _: True
) -> Batch | None:
    """Record the intent to create the batch; None if it may not go or waits for it no longer.

    `may_go` is asked inside the transaction: two creates cannot both take the last room.
    """
    with ledger.transaction() as transaction:
        if not may_go(transaction):
            return None
        attempt = transaction.value(
            "SELECT create_attempt FROM batches WHERE batch_id = ?", batch_id
        )
        moved = move(
            transaction, batch_id, BatchState.SUBMITTING,
            create_attempt=attempt + 1, intent_at=now(), post_ended_at=None, not_before=None,
            first_absent_at=None, provider_id=None, provider_status=None,
        )  # fmt: skip
        return read_batch_row(transaction, batch_id) if moved else None


def mark_submitted(
    ledger: Ledger, batch_id: int, *, provider_id: str, status: str, reason: str | None = None
) -> bool:
    """Record the provider's id of the batch; it is polled from now on."""
    with ledger.transaction() as transaction:
        moved = move(
            transaction, batch_id, BatchState.SUBMITTED, reason=reason,
            provider_id=provider_id, provider_status=status, submitted_at=now(),
            next_poll_at=now(), failures=0, not_before=None, lost_since=None,
        )  # fmt: skip
        if moved:
            transaction.execute(
                "INSERT INTO creates SELECT batch_id, create_attempt, ?, ? FROM batches "
                "WHERE batch_id = ?",
                provider_id, now(), batch_id,
            )  # fmt: skip
            prove_in(transaction, batch_id, Proof.CREATE)
        return moved


def adopt_create(
    ledger: Ledger, batch: Batch, found: ProviderBatch, *, reason: str, actor: str = "pipeline"
) -> bool:
    """Record that a batch whose create was never answered, or is not remembered, is this one.

    Returns whether it is new that it is. One that was created again since it was last recorded
    is followed to its newest create.
    """
    stamp = read_stamp(found.metadata)
    attempt = max(batch.create_attempt, stamp.attempt if stamp else 0)
    columns: dict[str, object] = {
        "provider_id": found.id,
        "provider_status": found.status,
        "create_attempt": attempt,
        "input_file_id": found.input_file_id or batch.input_file_id,
        "submitted_at": now(),
        "next_poll_at": now(),
        "failures": 0,
        "not_before": None,
        "lost_since": None,
    }
    with ledger.transaction() as transaction:
        state = read_batch_row(transaction, batch.batch_id).state
        if state is BatchState.SUBMITTED:
            note_in(transaction, batch.batch_id, **columns)
            transaction.record_move(
                "batch", batch.batch_id, state, source=state, reason=reason, actor=actor
            )
        elif not move(
            transaction, batch.batch_id, BatchState.SUBMITTED, reason=reason, actor=actor, **columns
        ):
            return False
        record_create(transaction, batch.batch_id, attempt, found.id)
        prove_in(transaction, batch.batch_id, Proof.CREATE)
        if found.input_file_id:
            record_provider_file(
                transaction, found.input_file_id, account=batch.account, batch_id=batch.batch_id,
                purpose="input", disposable=False,
            )  # fmt: skip
    return True


def record_create(transaction: Transaction, batch_id: int, attempt: int, provider_id: str) -> None:
    """Remember for ever under which id the provider holds a batch of ours."""
    transaction.execute(
        "INSERT INTO creates SELECT $1::INTEGER, $2::INTEGER, $3, $4::TIMESTAMP "
        "WHERE NOT EXISTS (SELECT 1 FROM creates WHERE provider_id = $3)",
        batch_id, attempt, provider_id, now(),
    )  # fmt: skip


def forget_create(ledger: Ledger, batch: Batch) -> None:
    """Forget the id that the provider has told for a batch and does not know itself."""
    with ledger.transaction() as transaction:
        transaction.execute(
            "DELETE FROM creates WHERE batch_id = ? AND provider_id = ?",
            batch.batch_id, batch.provider_id,
        )  # fmt: skip


def make_looks_due(ledger: Ledger) -> None:
    """Let creates that were never answered be looked for at once: we have just started.

    A look that is overdue stays so: it tells for how long nobody was there to look.
    """
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE batches SET not_before = $1 WHERE state = 'submitting' AND not_before > $1",
            now(),
        )


def known_provider_ids(ledger: Ledger) -> frozenset[str]:
    """Return every id under which the provider has ever held a batch of ours."""
    with ledger.transaction() as reader:
        return frozenset(
            row["provider_id"] for row in reader.rows("SELECT provider_id FROM creates")
        )


def provider_ids_before(ledger: Ledger, batch: Batch) -> frozenset[str]:
    """Return the provider's ids of those batches of the same account that went before this one."""
    with ledger.transaction() as reader:
        return frozenset(
            row["provider_id"]
            for row in reader.rows(
                "SELECT creates.provider_id FROM creates JOIN batches USING (batch_id) "
                "JOIN lanes USING (lane_id) WHERE account = ? AND recorded_at < ?",
                batch.account, batch.submitted_at or now(),
            )
        )  # fmt: skip


def put_back_to_uploaded(
    transaction: Transaction, batch_id: int, *, reason: str, not_before: datetime
) -> bool:
    """Let the batch be created again later from the same input file."""
    moved = move(
        transaction, batch_id, BatchState.UPLOADED, reason=reason, not_before=not_before,
        intent_at=None, provider_id=None, provider_status=None,
    )  # fmt: skip
    if moved:
        cancel_unsent(transaction)
    return moved


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
        cancel_unsent(transaction)
    return moved


def cancel_unsent(transaction: Transaction, *, actor: str = "pipeline") -> int:
    """End the batches that are to be cancelled and do not exist at the provider.

    Returns how many there were. Their requests never ran, so they end as cancelled.
    """
    unsent = transaction.rows(
        "SELECT batch_id FROM batches WHERE cancel_requested AND state IN ('planned', 'uploaded')"
    )
    for row in unsent:
        cancelled = transaction.execute(
            "UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', "
            "finished_at = ? WHERE batch_id = ? AND state = 'batched'",
            now(), row["batch_id"],
        )  # fmt: skip
        move(
            transaction, row["batch_id"], BatchState.CANCELLED, actor=actor,
            reason="cancelled before it was created", finished_at=now(), succeeded=0, failed=0,
            cancelled=cancelled, returned=0, odd_lines=0,
        )  # fmt: skip
        dispose_of_files(transaction, row["batch_id"])
    return len(unsent)


def postpone(
    ledger: Ledger, batch: Batch, *, problem: str, pause_seconds: float, code: str | None = None
) -> None:
    """Count a failed try at the batch's present step and say when the next one is due."""
    note(
        ledger, batch.batch_id,
        failures=batch.failures + 1, not_before=now() + timedelta(seconds=pause_seconds),
        fault_code=code, fault_message=problem,
    )  # fmt: skip
