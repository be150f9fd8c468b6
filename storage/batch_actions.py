"""What operators do to batches: short guarded moves that the next flow run carries out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from batching.lifecycle import WISHES_ALLOWED, BatchState, BatchWish
from storage.batch_files import batch_folder, remove_batch_files
from storage.batches import cancel_unsent
from storage.jobs import PENDING_AGAIN
from storage.ledger import Ledger, Transaction, now

CANCELLABLE: Final = WISHES_ALLOWED[BatchWish.CANCEL]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchAction:
    """What became of an operator's wish."""

    state: BatchState
    """The batch's state after it."""
    requests: int = 0
    """How many requests it touched."""
    refusal: str | None = None
    """Why nothing was done."""


def cancel_batch(
    ledger: Ledger, batch_id: int, *, actor: str, reason: str | None = None
) -> BatchAction | None:
    """Ask for the batch to be cancelled; None if there is none. Paid results still arrive."""
    with ledger.transaction() as transaction:
        found = transaction.row(
            "SELECT state, cancel_requested FROM batches WHERE batch_id = ?", batch_id
        )
        if found is None:
            return None
        state = BatchState(found["state"])
        if found["cancel_requested"] or state is BatchState.CANCELLED:
            return BatchAction(state=state)
        if state not in CANCELLABLE:
            return BatchAction(state=state, refusal=f"a batch that is {state} has run already")
        wished = wish_to_cancel(transaction, [batch_id])
        transaction.record_move(
            "batch", batch_id, "cancel_requested", source=state, actor=actor, reason=reason
        )
        cancel_unsent(transaction, actor=actor)
        return BatchAction(state=_state(transaction, batch_id) or state, requests=wished)


def flush_lane_of(ledger: Ledger, batch_id: int, *, actor: str) -> BatchAction | None:
    """Let what is pending in the batch's lane go without filling up; None if there is no batch."""
    with ledger.transaction() as transaction:
        found = transaction.row("SELECT state, lane_id FROM batches WHERE batch_id = ?", batch_id)
        if found is None:
            return None
        state = BatchState(found["state"])
        waiting = _flush(transaction, found["lane_id"])
        if not waiting:
            return BatchAction(state=state, refusal="nothing waits in the lane of this batch")
        transaction.record_move(
            "batch", batch_id, "lane_flushed", actor=actor, reason=f"{waiting} requests"
        )
        return BatchAction(state=state, requests=waiting)


def flush_lane(ledger: Ledger, lane_id: int, *, actor: str) -> int:
    """Let what is pending in the lane go without filling up; return how many requests wait."""
    with ledger.transaction() as transaction:
        waiting = _flush(transaction, lane_id)
        if waiting:
            transaction.record_move(
                "lane", lane_id, "lane_flushed", actor=actor, reason=f"{waiting} requests"
            )
        return waiting


def _flush(transaction: Transaction, lane_id: int) -> int:
    in_lane = "state = 'pending' AND lane_id = ?"
    waiting = int(transaction.value(f"SELECT count(*) FROM requests WHERE {in_lane}", lane_id))
    if waiting:
        transaction.execute(
            "UPDATE jobs SET flush_requested_at = ? "
            f"WHERE job_id IN (SELECT job_id FROM requests WHERE {in_lane})",
            now(), lane_id,
        )  # fmt: skip
    return waiting


def restart_batch(
    ledger: Ledger, batch_id: int, *, actor: str, reason: str | None = None
) -> BatchAction | None:
    """Send again what failed with the batch as a whole; None if there is none.

    The earlier results are kept. Of a lost batch this may pay for a request a second time.
    """
    with ledger.transaction() as transaction:
        state = _state(transaction, batch_id)
        if state is None:
            return None
        if state not in WISHES_ALLOWED[BatchWish.RESTART]:
            return BatchAction(state=state, refusal=f"the batch has not failed, it is {state}")
        count = restart_in(transaction, batch_id, actor=actor, reason=reason)
        if not count:
            return BatchAction(
                state=state, refusal="no request of the batch failed with it and has its result yet"
            )
        return BatchAction(state=state, requests=count)


def restart_in(
    transaction: Transaction, batch_id: int, *, actor: str, reason: str | None = None
) -> int:
    """Let the requests wait again that failed with a failed batch; return how many."""
    jobs = transaction.rows(f"SELECT DISTINCT job_id FROM requests WHERE {_RESTARTED}", batch_id)
    count = transaction.execute(f"UPDATE requests SET {PENDING_AGAIN} WHERE {_RESTARTED}", batch_id)
    if count:
        transaction.execute(
            "UPDATE jobs SET completed_at = NULL WHERE list_contains(?, job_id)",
            [row["job_id"] for row in jobs],
        )
        told = f"{count} requests pending again" + (f": {reason}" if reason else "")
        transaction.record_move("batch", batch_id, "restarted", actor=actor, reason=told)
    return count


_RESTARTED: Final = (
    "batch_id = ? AND state = 'failed' AND result_id IS NOT NULL AND error_code IN "
    "('obm_batch_refused', 'obm_batch_lost', 'obm_returns_exhausted', 'obm_results_unavailable', "
    "'obm_results_missing')"
)


def forget_batch(
    ledger: Ledger, batch_id: int, *, actor: str, reason: str | None = None
) -> BatchAction | None:
    """Delete the files of a batch that has ended, not its results; None if there is no batch."""
    with ledger.transaction() as transaction:
        state = _state(transaction, batch_id)
        if state is None:
            return None
        if state not in WISHES_ALLOWED[BatchWish.DELETE]:
            return BatchAction(state=state, refusal=f"a batch that is {state} needs its files")
        if batch_folder(ledger.directory, batch_id).exists():
            transaction.record_move("batch", batch_id, "files_deleted", actor=actor, reason=reason)
    remove_batch_files(ledger.directory, batch_id)
    return BatchAction(state=state)


def wish_to_cancel(transaction: Transaction, batch_ids: Sequence[int]) -> int:
    """Record the wish of batches and their requests to be cancelled; return how many requests."""
    transaction.execute(
        "UPDATE batches SET cancel_requested = true, next_poll_at = CASE WHEN state = 'submitted' "
        "THEN ?::TIMESTAMP ELSE next_poll_at END WHERE list_contains(?, batch_id)",
        now(), list(batch_ids),
    )  # fmt: skip
    return transaction.execute(
        "UPDATE requests SET cancel_requested = true WHERE list_contains(?, batch_id) "
        "AND state = 'batched' AND NOT cancel_requested",
        list(batch_ids),
    )


def _state(transaction: Transaction, batch_id: int) -> BatchState | None:
    found = transaction.value("SELECT state FROM batches WHERE batch_id = ?", batch_id)
    return None if found is None else BatchState(found)
