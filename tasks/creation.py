"""Creating a batch at the provider: the one call that costs money, so never made blindly.

The intent is recorded before the call and the provider's id after it. Whenever the answer is
lost, the account's batches are listed until ours is found or proven absent.
"""

import logging
from datetime import datetime, timedelta

from batching.errors import (
    AccountRefused,
    AmbiguousCreate,
    CapacityExceeded,
    InputFileNotVisible,
    NotFound,
    RequestRefused,
    TerminalError,
    Throttled,
    TransientError,
)
from batching.lifecycle import BatchState
from batching.ownership import Stamp, match_create
from batching.provider import ProviderBatch
from storage.accounts import record_trouble
from storage.batches import (
    Batch,
    adopt_create,
    batch_of,
    known_provider_ids,
    mark_submitted,
    mark_submitting,
    note,
    put_back_to_planned,
    put_back_to_uploaded,
)
from storage.endings import Ending, fail_requests
from storage.lanes import back_off, room_for
from storage.ledger import now
from storage.provider_files import uploads_of
from tasks.refusals import refuse_for_tokens
from tasks.resources import our_batches, resources
from tasks.steps import step

logger = logging.getLogger(__name__)

LISTED_BEFORE_INTENT = timedelta(hours=26)
"""More than a clock is off by when its time zone is wrong: a batch that is overlooked is paid
twice, and a day's list costs a few calls."""
FILE_NOT_FOUND_PAUSE_SECONDS = 5.0


@step(name="create", run_name="batch {batch_id}: create")
def create_batch(batch_id: int) -> bool:
    """Create an uploaded batch at the provider; return whether it exists there now."""
    ledger, token_limit_of = resources().ledger, resources().token_limit_of
    batch = mark_submitting(
        ledger,
        batch_id,
        may_go=lambda reader: room_for(reader, batch_id, token_limit_of=token_limit_of),
    )
    if batch is None:
        return False
    try:
        created = resources().provider.create(
            input_file_id=batch.input_file_id or "",
            endpoint=batch.endpoint,
            metadata=_metadata(batch),
        )
    except AmbiguousCreate as error:
        logger.warning("create unanswered", extra={"batch_id": batch_id, "problem": str(error)})
        note(ledger, batch_id, post_ended_at=now(), fault_message=str(error))
        return settle_create(batch_of(ledger, batch_id))
    except TransientError as error:
        _wait(batch, error)
    except TerminalError as error:
        _refused(batch, error)
    else:
        return mark_submitted(ledger, batch_id, provider_id=created.id, status=created.status)
    return False


def _metadata(batch: Batch) -> dict[str, str]:
    return Stamp(
        installation=resources().installation,
        batch_id=batch.batch_id,
        attempt=batch.create_attempt,
    ).as_metadata()


def _wait(batch: Batch, error: TransientError) -> None:
    """Create it later from the same file: the provider certainly made no batch."""
    settings = resources().settings
    if isinstance(error, CapacityExceeded):
        refuse_for_tokens(batch, limit_tokens=error.limit_tokens, reason=str(error))
        return
    if isinstance(error, InputFileNotVisible):
        wait_for_file(batch, reason=str(error))
        return
    retry_after = error.retry_after_seconds if isinstance(error, Throttled) else None
    with resources().ledger.transaction() as transaction:
        until = back_off(
            transaction,
            batch.lane_id,
            first_seconds=settings.poll_min_seconds,
            longest_seconds=settings.capacity_backoff_max_seconds,
            at_least_seconds=retry_after or 0.0,
        )
        put_back_to_uploaded(transaction, batch.batch_id, reason=str(error), not_before=until)


def wait_for_file(batch: Batch, *, reason: str) -> None:
    """Create again soon; a file that stays unknown too long is uploaded again.

    After each further upload it is waited twice as long, so that a provider that shows files
    late is not sent one after the other for ever.
    """
    settings = resources().settings
    age = now() - (batch.uploaded_at or now())
    with resources().ledger.transaction() as transaction:
        uploads = uploads_of(transaction, batch.batch_id)
        patience_seconds = settings.file_not_found_seconds * 2 ** min(max(uploads - 1, 0), 10)
        put_back_to_uploaded(
            transaction, batch.batch_id, reason=reason,
            not_before=now() + timedelta(
                seconds=min(FILE_NOT_FOUND_PAUSE_SECONDS, settings.poll_min_seconds)),
        )  # fmt: skip
        if age.total_seconds() > patience_seconds:
            put_back_to_planned(transaction, batch, reason=f"uploaded again: {reason}")


def _refused(batch: Batch, error: TerminalError) -> None:
    ledger = resources().ledger
    if isinstance(error, AccountRefused):
        record_trouble(ledger, batch.account, str(error))
        with ledger.transaction() as transaction:
            put_back_to_uploaded(transaction, batch.batch_id, reason=str(error), not_before=now())
        return
    code = error.code if isinstance(error, RequestRefused) else None
    ending = Ending(code=code or "create_refused", reason=str(error))
    with ledger.transaction() as transaction:
        fail_requests(transaction, batch, ending, request_code="obm_batch_refused")


# After a crash or a lost answer -----------------------------------------------------------


def settle_creates() -> int:
    """Find out about every batch whose create was never answered; return how many there are.

    The caller owns the flow, so whoever made the call is dead and the call has ended.
    """
    unsettled = [
        batch
        for batch in our_batches(BatchState.SUBMITTING)
        if batch.not_before is None or batch.not_before <= now()
    ]
    for batch in unsettled:
        if batch.post_ended_at is None:
            note(resources().ledger, batch.batch_id, post_ended_at=now())
        settle_create(batch_of(resources().ledger, batch.batch_id))
    return len(unsettled)


def settle_create(batch: Batch) -> bool:
    """Look for a batch that may have been created: adopt it, wait, or prove that it is absent.

    Absent means: missing from two complete listings, the second made long enough after the
    call ended, and from a third one after its input file was deleted, which makes a create
    that is still under way fail.
    """
    try:
        found = _find(batch)
        if found is None and _proof_is_due(batch):
            resources().provider.delete_file(batch.input_file_id or "")
            found = _find(batch)
            if found is None:
                _start_over(batch)
                return False
    except AccountRefused as error:
        record_trouble(resources().ledger, batch.account, str(error))
        note(resources().ledger, batch.batch_id, not_before=_next_look(batch))
        return False
    except (TransientError, NotFound, RequestRefused) as error:
        note(
            resources().ledger, batch.batch_id,
            fault_message=str(error), not_before=_next_look(batch),
        )  # fmt: skip
        return False
    if found is not None:
        return _adopt(batch, found)
    note(
        resources().ledger, batch.batch_id,
        first_absent_at=batch.first_absent_at or now(), not_before=_next_look(batch),
    )  # fmt: skip
    return False


def _next_look(batch: Batch) -> datetime:
    """Look again after a poll's pause, and right when the proof is due."""
    settings = resources().settings
    soon = now() + timedelta(seconds=settings.poll_min_seconds)
    if batch.post_ended_at is None:
        return soon
    proof_at = batch.post_ended_at + timedelta(seconds=settings.submit_proof_seconds)
    return min(soon, proof_at) if proof_at > now() else soon


def _proof_is_due(batch: Batch) -> bool:
    if batch.first_absent_at is None or batch.post_ended_at is None:
        return False
    proof = timedelta(seconds=resources().settings.submit_proof_seconds)
    return now() >= batch.post_ended_at + proof


def _find(batch: Batch) -> ProviderBatch | None:
    since = (batch.intent_at or now()) - LISTED_BEFORE_INTENT
    listed = resources().provider.list_batches(created_after=since)
    return match_create(
        listed,
        metadata=_metadata(batch),
        input_file_id=batch.input_file_id,
        known=known_provider_ids(resources().ledger),
        since=since,
    )


def _adopt(batch: Batch, found: ProviderBatch) -> bool:
    logger.info("batch adopted", extra={"batch_id": batch.batch_id, "provider_id": found.id})
    return adopt_create(
        resources().ledger, batch, found, reason="found at the provider after an unanswered create"
    )


def _start_over(batch: Batch) -> None:
    with resources().ledger.transaction() as transaction:
        put_back_to_planned(transaction, batch, reason="proven absent after an unanswered create")
