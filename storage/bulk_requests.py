"""What operators do to many requests at once: a filter or a selection, in one transaction."""

from collections.abc import Mapping
from typing import Final

from batching.lifecycle import OPERATOR_REQUEST_TRANSITIONS, RequestState, sources_of
from batching.result_lines import ENDED_AT_INTAKE
from storage.action_outcomes import ActionOutcome, outcome
from storage.jobs import PENDING_AGAIN, carry_out_cancel_wishes
from storage.ledger import Ledger, Transaction, now
from storage.redelivery import redeliver_in, undelivered_of
from storage.request_filter import Condition, RequestFilter, condition_of

_RETRYABLE: Final = [
    state.value for state in sources_of(OPERATOR_REQUEST_TRANSITIONS, RequestState.PENDING)
]


def cancel_requests(ledger: Ledger, wanted: RequestFilter, *, actor: str) -> ActionOutcome:
    """Cancel the requests that wait, and ask for it for those in a batch (`later`)."""
    condition = condition_of(wanted)
    with ledger.transaction() as transaction:
        counts = _states(transaction, condition)
        # The second first: what is cancelled at once must not change what the filter finds.
        later = transaction.execute(
            "UPDATE requests SET cancel_requested = true "
            f"WHERE state = 'batched' AND NOT cancel_requested AND {condition.sql}",
            *condition.parameters,
        )
        at_once = transaction.execute(
            "UPDATE requests SET state = 'cancelled', error_code = 'obm_cancelled', "
            f"finished_at = ? WHERE state = 'pending' AND {condition.sql}",
            now(), *condition.parameters,
        )  # fmt: skip
        if at_once or later:
            carry_out_cancel_wishes(transaction, actor=actor)
        _tell(transaction, wanted, "cancel_requested", at_once + later, actor)
    skipped = {
        f"{state} already": counts.get(state, 0) for state in ("succeeded", "failed", "cancelled")
    }
    skipped["cancel requested already"] = counts.get("batched", 0) - later
    return outcome(ledger, at_once + later, later=later, skipped=skipped)


def retry_requests(ledger: Ledger, wanted: RequestFilter, *, actor: str) -> ActionOutcome:
    """Send failed and cancelled requests again; their earlier results are kept.

    A request that failed may be paid a second time. One that was refused as a duplicate stays so:
    its job has an answer under this custom_id.
    """
    condition = condition_of(wanted).also("list_contains(?, requests.state)", _RETRYABLE)
    condition = condition.also("requests.result_id IS NOT NULL")
    condition = condition.also(
        "NOT list_contains(?, coalesce(requests.error_code, ''))", list(ENDED_AT_INTAKE)
    )
    with ledger.transaction() as transaction:
        counts = _states(transaction, condition_of(wanted))
        jobs = transaction.rows(
            f"SELECT DISTINCT job_id FROM requests WHERE {condition.sql}", *condition.parameters
        )
        count = transaction.execute(
            f"UPDATE requests SET {PENDING_AGAIN} WHERE {condition.sql}", *condition.parameters
        )
        transaction.execute(
            "UPDATE jobs SET completed_at = NULL WHERE list_contains(?, job_id)",
            [row["job_id"] for row in jobs],
        )
        _tell(transaction, wanted, "retried", count, actor)
    ended = sum(counts.get(state, 0) for state in _RETRYABLE)
    skipped = {
        "succeeded": counts.get("succeeded", 0),
        "not at its end yet": counts.get("pending", 0) + counts.get("batched", 0),
        "its result is not recorded yet, or it was refused as a duplicate": ended - count,
    }
    return outcome(ledger, count, requests=count, skipped=skipped)


def redeliver_requests(
    ledger: Ledger, wanted: RequestFilter, *, failed_only: bool, actor: str
) -> ActionOutcome:
    """Bring the results of the requests again, or only those whose deliveries failed for good.

    Results in files are there already, so nothing happens to them.
    """
    requests = condition_of(wanted)
    meant = Condition(
        sql="(deliveries.segment, deliveries.row_index, deliveries.result_id) IN (SELECT "
        f"(segment, row_index, result_id) FROM requests WHERE {requests.sql})",
        parameters=requests.parameters,
    )
    with ledger.transaction() as transaction:
        without = transaction.value(
            "SELECT count(*) FROM requests WHERE (result_id IS NULL OR destination_id = 0) "
            f"AND {requests.sql}",
            *requests.parameters,
        )
        skipped = dict(undelivered_of(transaction, meant, failed_only=failed_only))
        count = redeliver_in(
            transaction, meant, failed_only=failed_only, told=str(wanted), actor=actor
        )
    skipped["has no result that is pushed anywhere"] = int(without)
    return outcome(ledger, count, skipped=skipped)


def _states(transaction: Transaction, condition: Condition) -> Mapping[str, int]:
    rows = transaction.rows(
        f"SELECT state, count(*) AS requests FROM requests WHERE {condition.sql} GROUP BY state",
        *condition.parameters,
    )
    return {row["state"]: row["requests"] for row in rows}


def _tell(
    transaction: Transaction, wanted: RequestFilter, event: str, count: int, actor: str
) -> None:
    if count:
        transaction.record_move(
            "request", "*", event, actor=actor, reason=f"{count} requests; {wanted}"
        )
