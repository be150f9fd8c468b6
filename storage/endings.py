"""Batches that end without results: their requests wait again, or fail with the reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from batching.failure_policy import RetryLimits
from batching.lifecycle import BatchState
from storage.batches import Batch, move, note_in
from storage.ledger import Transaction, now
from storage.provider_files import dispose_of_files


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """Why a batch ended without results, and what that counts for its requests."""

    code: str
    reason: str
    adds_attempt: bool = False
    """The requests may have been paid."""
    adds_return: bool = False
    """The requests came back without having run."""
    worn_out_code: str = "obm_returns_exhausted"
    """What a request is told that has come back too often."""


def return_requests(
    transaction: Transaction, batch: Batch, ending: Ending, *, limits: RetryLimits
) -> None:
    """End the batch as failed; its requests wait for another one, unless they are worn out."""
    if not _close(transaction, batch, ending):
        return
    cancelled = _end(transaction, batch, "cancelled", "obm_cancelled", "cancel_requested")
    attempt, back = int(ending.adds_attempt), int(ending.adds_return)
    worn_out = f"(attempts + {attempt} >= {limits.attempts} AND {ending.adds_attempt})"
    worn_out += f" OR (returns + {back} > {limits.returns} AND {ending.adds_return})"
    failed = _end(transaction, batch, "failed", ending.worn_out_code, f"({worn_out})")
    returned = transaction.execute(
        "UPDATE requests SET state = 'pending', batch_id = NULL, attempts = attempts + ?, "
        "returns = returns + ? WHERE batch_id = ? AND state = 'batched'",
        attempt, back, batch.batch_id,
    )  # fmt: skip
    _count(transaction, batch, failed=failed, cancelled=cancelled, returned=returned)


def close_refused(
    transaction: Transaction, batch: Batch, ending: Ending, *, take_over: Callable[[], list[int]]
) -> list[int]:
    """End the batch as failed after other batches took its requests over; return what they are.

    `take_over` is asked inside, after the requests that are to be cancelled have ended.
    """
    if not _close(transaction, batch, ending):
        return []
    cancelled = _end(transaction, batch, "cancelled", "obm_cancelled", "cancel_requested")
    moved = transaction.value(
        "SELECT count(*) FROM requests WHERE batch_id = ? AND state = 'batched'", batch.batch_id
    )
    successors = take_over() if moved else []
    _count(transaction, batch, failed=0, cancelled=cancelled, returned=moved)
    return successors


def fail_requests(
    transaction: Transaction, batch: Batch, ending: Ending, *, request_code: str
) -> None:
    """End the batch and all its requests as failed."""
    if _close(transaction, batch, ending):
        failed = _end(transaction, batch, "failed", request_code, "true")
        _count(transaction, batch, failed=failed)


def fail_lines(
    transaction: Transaction, batch: Batch, lines: Sequence[int], *, request_code: str
) -> int:
    """Fail the requests on these lines (from 1) of the input file; return how many there are."""
    return transaction.execute(
        """
        UPDATE requests SET state = 'failed', finished_at = ?, error_code = ?
        WHERE rowid IN (
            SELECT place FROM (
                SELECT rowid AS place, row_number() OVER (ORDER BY segment, row_index) AS line
                FROM requests WHERE batch_id = ? AND state = 'batched')
            WHERE list_contains(?, line))
        """,
        now(), request_code, batch.batch_id, list(lines),
    )  # fmt: skip


def _close(transaction: Transaction, batch: Batch, ending: Ending) -> bool:
    # What the provider refused costs nothing; of a lost batch nobody knows what it cost.
    cost_usd = None if ending.adds_attempt else Decimal(0)
    moved = move(
        transaction, batch.batch_id, BatchState.FAILED, reason=ending.reason,
        fault_code=ending.code, fault_message=ending.reason, finished_at=now(),
        cost_usd=cost_usd,
    )  # fmt: skip
    if moved:
        dispose_of_files(transaction, batch.batch_id)
    return moved


def _end(transaction: Transaction, batch: Batch, state: str, code: str, condition: str) -> int:
    return transaction.execute(
        f"UPDATE requests SET state = ?, finished_at = ?, error_code = ? "
        f"WHERE batch_id = ? AND state = 'batched' AND {condition}",
        state, now(), code, batch.batch_id,
    )  # fmt: skip


def _count(
    transaction: Transaction, batch: Batch, *, failed: int, cancelled: int = 0, returned: int = 0
) -> None:
    """Record what became of the batch's requests, those failed by line before included."""
    note_in(
        transaction, batch.batch_id, succeeded=0, cancelled=cancelled, returned=returned,
        failed=max(failed, batch.requests - cancelled - returned), odd_lines=0,
    )  # fmt: skip
