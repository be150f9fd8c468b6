"""Recording what polls brought."""

from datetime import datetime

from batching.lifecycle import BatchState
from batching.outcomes import Proof
from batching.provider import ProviderBatch
from storage.accounts import prove_in, prove_visible_in
from storage.batches import Batch, move, note_in
from storage.lanes import ease_caution, end_backoff
from storage.ledger import Ledger, Transaction, now
from storage.provider_files import record_provider_file


def mark_polled(
    ledger: Ledger,
    batch: Batch,
    answer: ProviderBatch,
    *,
    next_poll_at: datetime,
    accepted: bool,
) -> None:
    """Record the provider's status and counts of a batch that is still on its way.

    `accepted` says that the provider has let it past validation: only now is the lane's
    backoff over, since a refusal comes after a create that seemed to succeed.
    """
    with ledger.transaction() as transaction:
        counts = {
            "provider_total": answer.total,
            "provider_completed": answer.completed,
            "provider_failed": answer.failed,
        }
        note_in(
            transaction, batch.batch_id, provider_status=answer.status, last_polled_at=now(),
            next_poll_at=next_poll_at, lost_since=None,
            **{name: count for name, count in counts.items() if count is not None},
        )  # fmt: skip
        prove_visible_in(transaction, batch.account)
        if answer.completed:
            prove_in(transaction, batch.batch_id, Proof.RESULT)
        if accepted:
            end_backoff(transaction, batch.lane_id)
        if accepted and batch.in_progress_at is None:
            note_in(transaction, batch.batch_id, in_progress_at=answer.in_progress_at or now())
            ease_caution(transaction, batch.lane_id)
        if answer.status != batch.provider_status:
            transaction.record_move(
                "batch", batch.batch_id, f"submitted/{answer.status}",
                source=f"submitted/{batch.provider_status}",
            )  # fmt: skip


def mark_ended(ledger: Ledger, batch: Batch, answer: ProviderBatch) -> bool:
    """Record that the provider has finished with the batch, and where its files are."""
    with ledger.transaction() as transaction:
        moved = move(
            transaction, batch.batch_id, BatchState.ENDED, reason=answer.status,
            provider_status=answer.status, last_polled_at=now(), ended_at=now(),
            output_file_id=answer.output_file_id, error_file_id=answer.error_file_id,
            provider_total=answer.total, provider_completed=answer.completed,
            provider_failed=answer.failed, lost_since=None, next_poll_at=None,
        )  # fmt: skip
        if moved:
            prove_visible_in(transaction, batch.account)
            end_backoff(transaction, batch.lane_id)
            if batch.in_progress_at is None:
                ease_caution(transaction, batch.lane_id)
            for file_id in filter(None, (answer.output_file_id, answer.error_file_id)):
                _remember_file(transaction, batch, file_id)
        return moved


def note_files(ledger: Ledger, batch: Batch, answer: ProviderBatch) -> None:
    """Record file ids that an ended batch shows later than its end, or other ones than then."""
    with ledger.transaction() as transaction:
        note_in(
            transaction, batch.batch_id,
            output_file_id=answer.output_file_id or batch.output_file_id,
            error_file_id=answer.error_file_id or batch.error_file_id,
            provider_completed=answer.completed, provider_failed=answer.failed,
        )  # fmt: skip
        for file_id in filter(None, (answer.output_file_id, answer.error_file_id)):
            _remember_file(transaction, batch, file_id)


def _remember_file(transaction: Transaction, batch: Batch, file_id: str) -> None:
    record_provider_file(
        transaction, file_id, account=batch.account, batch_id=batch.batch_id,
        purpose="output", disposable=False,
    )  # fmt: skip
