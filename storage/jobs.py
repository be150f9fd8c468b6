"""What operators do to jobs: short guarded moves that the next flow run carries out."""

from typing import Final

from batching.failure_policy import RetryLimits
from batching.lifecycle import OPERATOR_REQUEST_TRANSITIONS, RequestState, sources_of
from batching.result_lines import ENDED_AT_INTAKE
from storage.batches import cancel_unsent, read_batch_row
from storage.endings import Ending, return_requests
from storage.ledger import Ledger, Transaction, now

_NO_LIMITS = RetryLimits(attempts=0, returns=0)
"""Of no account where an ending counts neither an attempt nor a return."""


PENDING_AGAIN: Final = (
    "state = 'pending', attempts = 0, returns = 0, batch_id = NULL, result_id = NULL, "
    "result_bytes = NULL, finished_at = NULL, status_code = NULL, error_code = NULL, "
    "cancel_requested = false"
)
"""What is set of a request that an operator sends again."""


def find_job(reader: Transaction, name: str) -> int | None:
    """Return the id of the job of this name, or None."""
    found = reader.value("SELECT job_id FROM jobs WHERE name = ?", name)
    return None if found is None else int(found)


def job_names(reader: Transaction) -> list[str]:
    """Return the names of all jobs, oldest first."""
    return [row["name"] for row in reader.rows("SELECT name FROM jobs ORDER BY job_id")]


def cancel_job(ledger: Ledger, name: str, *, actor: str) -> tuple[int, int]:
    """Cancel the job's requests; return how many at once and how many at their batch's end.

    A pending request is cancelled here and now. One in a batch gets the wish recorded: a paid
    result that still arrives wins over it.
    """
    with ledger.transaction() as transaction:
        job_id = find_job(transaction, name)
        at_once = transaction.execute(
            "UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', "
            "finished_at = ? WHERE job_id = ? AND state = 'pending'",
            now(), job_id,
        )  # fmt: skip
        later = transaction.execute(
            "UPDATE requests SET cancel_requested = true "
            "WHERE job_id = ? AND state = 'batched' AND NOT cancel_requested",
            job_id,
        )
        carry_out_cancel_wishes(transaction, actor=actor)
        transaction.record_move(
            "job", name, "cancel_requested", actor=actor,
            reason=f"{at_once} pending, {later} in batches",
        )  # fmt: skip
    return at_once, later


def carry_out_cancel_wishes(transaction: Transaction, *, actor: str) -> None:
    """Do with the batches what their requests' recorded wishes to be cancelled ask for."""
    _ask_for_batch_cancels(transaction)
    cancel_unsent(transaction, actor=actor)
    _take_apart_unsent(transaction)


def _ask_for_batch_cancels(transaction: Transaction) -> None:
    """Mark the batches of which every request is to be cancelled; the next poll does it."""
    transaction.execute(
        """
        UPDATE batches SET cancel_requested = true,
            next_poll_at = CASE WHEN state = 'submitted' THEN ?::TIMESTAMP ELSE next_poll_at END
        WHERE NOT cancel_requested
            AND state IN ('planned', 'uploaded', 'submitting', 'submitted') AND batch_id IN (
            SELECT batch_id FROM requests WHERE state = 'batched'
            GROUP BY batch_id HAVING bool_and(cancel_requested))
        """,
        now(),
    )


def _take_apart_unsent(transaction: Transaction) -> None:
    """Give up batches that do not exist at the provider and hold requests to be cancelled.

    The others in them wait for another batch: nobody pays for what was cancelled in time.
    """
    mixed = transaction.rows(
        "SELECT DISTINCT batch_id FROM requests JOIN batches USING (batch_id) "
        "WHERE requests.state = 'batched' AND requests.cancel_requested "
        "AND batches.state IN ('planned', 'uploaded')"
    )
    ending = Ending(code="taken_apart", reason="some of its requests were cancelled in time")
    for row in mixed:
        batch = read_batch_row(transaction, row["batch_id"])
        return_requests(transaction, batch, ending, limits=_NO_LIMITS)


def set_job_paused(ledger: Ledger, name: str, *, paused: bool, actor: str) -> bool:
    """Hold back or release the job's pending requests; return whether that is a change."""
    with ledger.transaction() as transaction:
        changed = transaction.execute(
            "UPDATE jobs SET paused = ? WHERE name = ? AND paused <> ?", paused, name, paused
        )
        if changed:
            transaction.record_move("job", name, "paused" if paused else "open", actor=actor)
    return bool(changed)


def flush(ledger: Ledger, name: str | None, *, actor: str) -> int:
    """Let what is pending now (of one job, or of all) go without filling up; return how many."""
    with ledger.transaction() as transaction:
        moment = now()
        transaction.execute(
            "UPDATE jobs SET flush_requested_at = $1 WHERE $2::VARCHAR IS NULL OR name = $2",
            moment, name,
        )  # fmt: skip
        waiting = transaction.value(
            "SELECT count(*) FROM requests JOIN jobs USING (job_id) "
            "WHERE requests.state = 'pending' AND ($1::VARCHAR IS NULL OR name = $1)",
            name,
        )
        transaction.record_move("job", name or "*", "flushed", actor=actor)
    return int(waiting)


def retry_job(ledger: Ledger, name: str, *, cancelled_too: bool, actor: str) -> int:
    """Send the job's failed requests again; return how many. Their earlier results are kept.

    Only an operator does this: a request that failed may be paid a second time. One that was
    refused as a duplicate stays so: its job has an answer under this custom_id. So does one that
    an earlier version accepted and nobody can send.
    """
    states = [state.value for state in _retried_states(cancelled_too=cancelled_too)]
    with ledger.transaction() as transaction:
        job_id = find_job(transaction, name)
        count = transaction.execute(
            f"UPDATE requests SET {PENDING_AGAIN} "
            "WHERE job_id = ? AND list_contains(?, state) AND result_id IS NOT NULL "
            "AND NOT list_contains(?, coalesce(error_code, ''))",
            job_id, states, list(ENDED_AT_INTAKE),
        )  # fmt: skip
        if count:
            transaction.execute("UPDATE jobs SET completed_at = NULL WHERE job_id = ?", job_id)
        transaction.record_move(
            "job", name, "retried", actor=actor, reason=f"{count} requests pending again"
        )
    return count


def _retried_states(*, cancelled_too: bool) -> list[RequestState]:
    allowed = sources_of(OPERATOR_REQUEST_TRANSITIONS, RequestState.PENDING)
    return [state for state in allowed if cancelled_too or state is not RequestState.CANCELLED]
