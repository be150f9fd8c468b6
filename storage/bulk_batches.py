"""What operators do to many batches at once: one transaction, and what became of each kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from batching.lifecycle import FINAL_BATCH_STATES, BatchState
from storage.action_outcomes import ActionOutcome, outcome
from storage.batch_actions import CANCELLABLE, restart_in, wish_to_cancel
from storage.batch_files import batch_folder, remove_batch_files
from storage.batches import cancel_unsent
from storage.ledger import Ledger, Transaction
from storage.redelivery import redeliver_in, undelivered_of
from storage.request_filter import Condition

_GONE: Final = "there is no such batch"
_OF_BATCHES: Final = (
    "deliveries.result_id IN (SELECT result_id FROM results WHERE list_contains(?, batch_id))"
)


def cancel_batches(
    ledger: Ledger, batch_ids: Sequence[int], *, actor: str, reason: str | None = None
) -> ActionOutcome:
    """Ask for the batches to be cancelled; paid results still arrive."""
    with ledger.transaction() as transaction:
        states, skipped = _states(transaction, batch_ids)
        wished = {
            row["batch_id"]
            for row in transaction.rows(
                "SELECT batch_id FROM batches WHERE list_contains(?, batch_id) "
                "AND cancel_requested",
                list(states),
            )
        }
        chosen = [
            number
            for number, state in states.items()
            if state in CANCELLABLE and number not in wished
        ]
        skipped += Counter(
            "cancelled already" if number in wished or state is BatchState.CANCELLED
            else f"has run already ({state})"
            for number, state in states.items()
            if number not in chosen
        )  # fmt: skip
        requests = wish_to_cancel(transaction, chosen)
        for number in chosen:
            transaction.record_move(
                "batch", number, "cancel_requested", source=states[number], actor=actor,
                reason=reason,
            )  # fmt: skip
        at_once = min(len(chosen), cancel_unsent(transaction, actor=actor))
    return outcome(
        ledger, len(chosen), later=len(chosen) - at_once, requests=requests, skipped=skipped
    )


def restart_batches(
    ledger: Ledger, batch_ids: Sequence[int], *, actor: str, reason: str | None = None
) -> ActionOutcome:
    """Send again what failed with the batches as a whole; the earlier results are kept.

    Of a lost batch this may pay for a request a second time.
    """
    with ledger.transaction() as transaction:
        states, skipped = _states(transaction, batch_ids)
        restarted = requests = 0
        for number, state in states.items():
            if state is not BatchState.FAILED:
                skipped[f"has not failed ({state})"] += 1
                continue
            count = restart_in(transaction, number, actor=actor, reason=reason)
            restarted, requests = restarted + bool(count), requests + count
            skipped["no request of it failed with it and has its result yet"] += not count
    return outcome(ledger, restarted, requests=requests, skipped=skipped)


def redeliver_failed_of_batches(
    ledger: Ledger, batch_ids: Sequence[int], *, actor: str
) -> ActionOutcome:
    """Bring those results of the batches again whose deliveries failed for good.

    `changed` counts deliveries.
    """
    meant = Condition(sql=_OF_BATCHES, parameters=(list(batch_ids),))
    reason = f"{len(batch_ids)} selected batches"
    with ledger.transaction() as transaction:
        skipped = undelivered_of(transaction, meant, failed_only=True)
        count = redeliver_in(transaction, meant, failed_only=True, told=reason, actor=actor)
    return outcome(ledger, count, skipped=skipped)


def forget_batches(
    ledger: Ledger, batch_ids: Sequence[int], *, actor: str, reason: str | None = None
) -> ActionOutcome:
    """Delete the files of the batches that have ended, not their results."""
    with ledger.transaction() as transaction:
        states, skipped = _states(transaction, batch_ids)
        ended = [number for number, state in states.items() if state in FINAL_BATCH_STATES]
        skipped += Counter(
            f"needs its files ({state})"
            for state in states.values()
            if state not in FINAL_BATCH_STATES
        )
        there = [number for number in ended if batch_folder(ledger.directory, number).exists()]
        skipped["has no files (any more)"] += len(ended) - len(there)
        for number in there:
            transaction.record_move("batch", number, "files_deleted", actor=actor, reason=reason)
    for number in there:
        remove_batch_files(ledger.directory, number)
    return outcome(ledger, len(there), skipped=skipped)


def _states(
    transaction: Transaction, batch_ids: Sequence[int]
) -> tuple[Mapping[int, BatchState], Counter[str]]:
    """Return the state of each batch that there is, and the others as skipped."""
    rows = transaction.rows(
        "SELECT batch_id, state FROM batches WHERE list_contains(?, batch_id) ORDER BY batch_id",
        list(batch_ids),
    )
    states = {row["batch_id"]: BatchState(row["state"]) for row in rows}
    return states, Counter({_GONE: len(set(batch_ids) - set(states))})
