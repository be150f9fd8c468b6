"""Creating a batch at the provider: the one call that costs money, so never made blindly.

The intent is recorded before the call and the provider's id after it. Whenever the answer is
lost, the account's batches are listed until ours is found or proven absent.
"""

import logging
from datetime import datetime, timedelta

from batching.clock import seen_since
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
from batching.outcomes import Proof
from batching.ownership import Stamp, match_create
from batching.provider import ProviderBatch
from batching.refusals import AccountTrouble, FileNotVisible, TokenLimit, refusal_of
from storage.batches import (
    Batch,
    adopt_create,
    batch_of,
    forget_create,
    known_provider_ids,
    mark_submitted,
    mark_submitting,
    note,
    put_back_to_planned,
    put_back_to_uploaded,
)
from storage.lanes import room_for
from storage.ledger import now
from tasks.account_trouble import stop_account
from tasks.refusals import deal_with_refusal, fault_of_call, pause_lane
from tasks.resources import due_for_next_try, our_batches, resources
from tasks.steps import step

logger = logging.getLogger(__name__)

LISTED_BEFORE_INTENT = timedelta(hours=26)
"""More than a clock is off by when its time zone is wrong: a batch that is overlooked is paid
twice, and a day's list costs a few calls."""


@step(name="create", run_name="batch {batch_id}: create")
def create_batch(batch_id: int) -> bool:
    """Create an uploaded batch at the provider; return whether it exists there now."""
    ledger, token_limit_of = resources().ledger, resources().token_limit_of
    batch = mark_submitting(
        ledger,
        batch_id,
        may_go=lambda reader: room_for(
            reader,
            batch_id,
            token_limit_of=token_limit_of,
            longest_pause_seconds=resources().settings.longest_pause_seconds,
        ),
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
        return _unanswered(batch_id, str(error))
    except TransientError as error:
        _wait(batch, error)
    except TerminalError as error:
        _refused(batch, error)
    else:
        if created.id in known_provider_ids(ledger):
            return _unanswered(batch_id, f"the provider told of {created.id}, an earlier batch")
        return mark_submitted(ledger, batch_id, provider_id=created.id, status=created.status)
    return False


def _unanswered(batch_id: int, problem: str) -> bool:
    """Look for a batch that may have been created; return whether it is found."""
    logger.warning("create unanswered", extra={"batch_id": batch_id, "problem": problem})
    note(resources().ledger, batch_id, post_ended_at=now(), fault_message=problem)
    return settle_create(batch_of(resources().ledger, batch_id))


def _metadata(batch: Batch) -> dict[str, str]:
    return Stamp(
        installation=resources().installation,
        batch_id=batch.batch_id,
        attempt=batch.create_attempt,
    ).as_metadata()


def _wait(batch: Batch, error: TransientError) -> None:
    """Create it later from the same file: the provider certainly made no batch."""
    if isinstance(error, CapacityExceeded):
        limit = TokenLimit(limit_tokens=error.limit_tokens, message=str(error))
        deal_with_refusal(batch, limit)
        return
    if isinstance(error, InputFileNotVisible):
        deal_with_refusal(batch, FileNotVisible(message=str(error)))
        return
    retry_after = error.retry_after_seconds if isinstance(error, Throttled) else None
    with resources().ledger.transaction() as transaction:
        until = pause_lane(transaction, batch, at_least_seconds=retry_after or 0.0)
        put_back_to_uploaded(transaction, batch.batch_id, reason=str(error), not_before=until)


def _refused(batch: Batch, error: TerminalError) -> None:
    if isinstance(error, AccountRefused):
        trouble = AccountTrouble(code=None, message=str(error))
        deal_with_refusal(batch, trouble, proof=Proof.CREATE)
        return
    deal_with_refusal(batch, refusal_of([fault_of_call(error)]))


# After a crash or a lost answer -----------------------------------------------------------


def settle_creates() -> int:
    """Find out about every batch whose create was never answered; return how many there are.

    The caller owns the flow, so whoever made the call is dead and the call has ended.
    """
    unsettled = due_for_next_try(our_batches(BatchState.SUBMITTING))
    for batch in unsettled:
        _note_seen_time(batch)
        settle_create(batch_of(resources().ledger, batch.batch_id))
    return len(unsettled)


def _note_seen_time(batch: Batch) -> None:
    """Count of the time since the call only what somebody has looked: the rest proves nothing."""
    ended_at = seen_since(
        batch.post_ended_at or now(), next_look=batch.not_before, at=now(),
        seconds=resources().settings.submit_proof_seconds,
    )  # fmt: skip
    if ended_at != batch.post_ended_at:
        note(resources().ledger, batch.batch_id, post_ended_at=ended_at)


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
        stop_account(batch.account, str(error))
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


def follow_to_other_id(batch: Batch) -> bool:
    """Adopt a batch under the id by which the provider lists it; return whether it does.

    The answer to its create has told another id then: given up as lost, it would be paid twice.
    """
    found = _find(batch)
    if found is None:
        return False
    forget_create(resources().ledger, batch)
    return _adopt(batch, found)


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
    since = _created_since(batch)
    listed = resources().provider.list_batches(created_after=since)
    return match_create(
        listed,
        metadata=_metadata(batch),
        input_file_id=batch.input_file_id,
        known=known_provider_ids(resources().ledger),
        since=since,
    )


def _created_since(batch: Batch) -> datetime:
    """Return before which the provider cannot have created the batch, by its own clock if told.

    Ours may have been wrong when the intent was recorded.
    """
    intended_at = batch.intent_at or now()
    try:
        uploaded_at = resources().provider.file(batch.input_file_id or "").created_at
    except (NotFound, RequestRefused):  # it is gone, or this provider does not tell
        uploaded_at = None
    return min(uploaded_at or intended_at, intended_at) - LISTED_BEFORE_INTENT


def _adopt(batch: Batch, found: ProviderBatch) -> bool:
    logger.info("batch adopted", extra={"batch_id": batch.batch_id, "provider_id": found.id})
    return adopt_create(
        resources().ledger, batch, found, reason="found at the provider after an unanswered create"
    )


def _start_over(batch: Batch) -> None:
    with resources().ledger.transaction() as transaction:
        put_back_to_planned(transaction, batch, reason="proven absent after an unanswered create")
