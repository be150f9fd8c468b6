"""Polling: what the provider says about each open batch, and what follows from it."""

import logging
from datetime import timedelta
from typing import Any

from batching.clock import is_due, seen_since
from batching.errors import AccountRefused, NotFound, RequestRefused, TransientError
from batching.lifecycle import BatchState
from batching.outcomes import Proof
from batching.provider import Phase, ProviderBatch
from batching.refusals import refusal_of
from batching.retry import poll_pause
from storage.batch_files import remove_input_file
from storage.batches import Batch, note, provider_ids_before
from storage.ledger import now
from storage.polls import mark_ended, mark_polled
from storage.reports.progress import open_batches_report
from tasks.account_trouble import stop_account
from tasks.creation import follow_to_other_id
from tasks.refusals import deal_with_refusal, lose_batch
from tasks.resources import our_batches, resources
from tasks.steps import step

logger = logging.getLogger(__name__)

ENDS_WITH_FILES = frozenset({"completed", "expired", "cancelled"})


def batches_to_poll() -> list[Batch]:
    """Return the submitted batches whose next look is due."""
    at, longest_seconds = now(), resources().settings.longest_poll_seconds
    return [
        batch
        for batch in our_batches(BatchState.SUBMITTED)
        if is_due(batch.next_poll_at, at, longest_seconds=longest_seconds)
    ]


def open_batches() -> list[dict[str, Any]]:
    """Return the batches that are not at their end, with their progress."""
    with resources().ledger.transaction() as reader:
        return open_batches_report(reader)


@step(name="poll")
def poll_batches() -> dict[str, int]:
    """Look at every batch that is due; return how many were in which status."""
    seen: dict[str, int] = {}
    for batch in batches_to_poll():
        status = poll_batch(batch)
        seen[status] = seen.get(status, 0) + 1
    return seen


def poll_batch(batch: Batch) -> str:
    """Ask for one batch and record the answer; return its status, or what went wrong."""
    provider = resources().provider
    try:
        if batch.cancel_requested and batch.provider_status != "cancelling":
            answer = provider.cancel(batch.provider_id or "")
        else:
            answer = provider.retrieve(batch.provider_id or "")
        if _ends_without_files(answer):
            # What follows cannot be taken back, requests are sent again: it must be said twice.
            answer = provider.retrieve(batch.provider_id or "")
    except NotFound as error:
        _missing(batch, str(error))
        return "not found"
    except AccountRefused as error:
        stop_account(batch.account, str(error))
        _look_again(batch)
        return "account refused"
    except (TransientError, RequestRefused) as error:
        logger.warning("poll failed", extra={"batch_id": batch.batch_id, "problem": str(error)})
        _look_again(batch)
        return "no answer"
    _record(batch, answer)
    return answer.status


def _ends_without_files(answer: ProviderBatch) -> bool:
    return answer.phase is Phase.ENDED and not (answer.output_file_id or answer.error_file_id)


def _record(batch: Batch, answer: ProviderBatch) -> None:
    if answer.phase is Phase.WAITING:
        accepted = answer.status not in {"validating", batch.provider_status}
        mark_polled(
            resources().ledger, batch, answer, next_poll_at=now() + _pause(batch),
            accepted=accepted and answer.known,
        )  # fmt: skip
        if answer.status in {"in_progress", "finalizing"}:
            remove_input_file(resources().directory, batch.batch_id)
        return
    if answer.status in ENDS_WITH_FILES or not _ends_without_files(answer):
        mark_ended(resources().ledger, batch, answer)
        remove_input_file(resources().directory, batch.batch_id)
        return
    deal_with_refusal(batch, refusal_of(answer.errors))


def _missing(batch: Batch, problem: str) -> None:
    """Give a batch that answers 404 up only after a while, and only if others are seen."""
    settings = resources().settings
    since = seen_since(
        batch.lost_since or now(), next_look=batch.next_poll_at, at=now(),
        seconds=settings.lost_batch_seconds,
    )  # fmt: skip
    if (now() - since).total_seconds() < settings.lost_batch_seconds:
        note(
            resources().ledger, batch.batch_id, lost_since=since, fault_message=problem,
            next_poll_at=now() + _pause(batch),
        )  # fmt: skip
        return
    _look_again(batch)
    try:
        listed = {found.id for found in resources().provider.list_batches()}
        # Only what is older proves that this is still the account that the batch went to.
        older = provider_ids_before(resources().ledger, batch)
        others = listed & older or _input_file_exists(batch)
        has_other_id = batch.provider_id not in listed and follow_to_other_id(batch)
    except (TransientError, AccountRefused, NotFound, RequestRefused):
        return
    if batch.provider_id in listed or has_other_id:
        return
    if others:
        lose_batch(batch, reason=problem)
        return
    stop_account(
        batch.account,
        f"batch {batch.provider_id} and everything else of ours is gone from this account: "
        "was the key or the project changed? Put the former one back, or give the new one a name "
        "of its own with OBM_ACCOUNT",
        proof=Proof.VISIBLE,
        batch_id=batch.batch_id,
    )


def _input_file_exists(batch: Batch) -> bool:
    try:
        resources().provider.file(batch.input_file_id or "")
    except NotFound:
        return False
    return True


def _look_again(batch: Batch) -> None:
    note(resources().ledger, batch.batch_id, next_poll_at=now() + _pause(batch))


def _pause(batch: Batch) -> timedelta:
    settings = resources().settings
    return poll_pause(
        now() - (batch.submitted_at or now()),
        shortest_seconds=settings.poll_min_seconds,
        longest_seconds=settings.poll_max_seconds,
    )
