"""Carrying out what the failure policy says about a batch that was refused as a whole."""

import logging
from datetime import datetime, timedelta

from batching.clock import age_seconds
from batching.errors import RequestRefused, TerminalError
from batching.failure_policy import POLICY, RefusedBatch, is_misjudged, trouble_of
from batching.outcomes import Counts, Proof, Reaction, Trouble
from batching.provider import BatchFault
from batching.refusals import BadLines, Refusal, TokenLimit, code_of, reason_of
from storage.accounts import record_trouble_in
from storage.batches import Batch, note_in, put_back_to_planned, put_back_to_uploaded
from storage.endings import Ending, fail_lines, fail_requests, return_requests
from storage.lanes import back_off, be_cautious, nothing_else_live
from storage.ledger import Transaction, now
from storage.provider_files import uploads_of
from storage.splitting import count_pieces, split_batch
from tasks.account_trouble import tell_trouble
from tasks.resources import resources

logger = logging.getLogger(__name__)

FILE_NOT_FOUND_PAUSE_SECONDS = 5.0


def deal_with_refusal(batch: Batch, refusal: Refusal, *, proof: Proof = Proof.RESULT) -> Trouble:
    """Do what the policy says about a batch that was refused; none of it ran.

    `proof` is what shows, if it is the account's trouble, that the account works again.
    """
    is_news = False
    with resources().ledger.transaction() as transaction:
        facts = _facts(transaction, batch)
        trouble = trouble_of(refusal, facts)
        match POLICY[trouble].reaction:
            case Reaction.STOP:
                is_news = _stop(transaction, batch, refusal, proof)
            case Reaction.WAIT:
                _create_later(transaction, batch, refusal)
            case Reaction.RESUBMIT:
                _resubmit(transaction, batch, refusal, trouble)
            case Reaction.SMALLER:
                _send_smaller(transaction, batch, refusal, facts)
            case _:
                _fail(transaction, batch, refusal, trouble)
    if POLICY[trouble].reaction is Reaction.STOP:
        tell_trouble(batch.account, reason_of(refusal), is_news=is_news)
    logger.info(
        "batch refused",
        extra={"batch_id": batch.batch_id, "outcome": trouble.value, "code": code_of(refusal)},
    )
    return trouble


def fault_of_call(error: TerminalError) -> BatchFault:
    """Return the refusal of a call in the words in which batches are refused."""
    if isinstance(error, RequestRefused):
        return BatchFault(code=error.code, message=str(error), line=error.line)
    return BatchFault(message=str(error))


def _facts(transaction: Transaction, batch: Batch) -> RefusedBatch:
    refused, accepted = count_pieces(transaction, batch)
    return RefusedBatch(
        requests=batch.requests,
        tokens=batch.tokens,
        token_refusals=batch.token_refusals,
        failures=batch.failures,
        is_alone=nothing_else_live(transaction, batch.lane_id, batch.batch_id),
        refused_pieces=refused,
        accepted_pieces=accepted,
    )


def _ending(refusal: Refusal, trouble: Trouble) -> Ending:
    rule = POLICY[trouble]
    return Ending(
        code=code_of(refusal) or trouble,
        reason=reason_of(refusal),
        adds_return=rule.counts is Counts.RETURN,
        worn_out_code=rule.worn_out_code or "obm_returns_exhausted",
    )


# Waiting ------------------------------------------------------------------------------------


def _stop(transaction: Transaction, batch: Batch, refusal: Refusal, proof: Proof) -> bool:
    """Stop the account; the batch goes again as soon as it works, from the same input file."""
    reason = reason_of(refusal)
    put_back_to_uploaded(transaction, batch.batch_id, reason=reason, not_before=now())
    return record_trouble_in(
        transaction, batch.account, reason, proof=proof, batch_id=batch.batch_id
    )


def _create_later(transaction: Transaction, batch: Batch, refusal: Refusal) -> None:
    """Create it again from the same input file, when what is in the way may be gone."""
    reason = reason_of(refusal)
    if not isinstance(refusal, TokenLimit):
        _wait_for_file(transaction, batch, reason=reason)
        return
    until = pause_lane(transaction, batch, for_capacity=True, learned_limit=refusal.limit_tokens)
    put_back_to_uploaded(transaction, batch.batch_id, reason=reason, not_before=until)
    note_in(transaction, batch.batch_id, token_refusals=batch.token_refusals + 1)


def pause_lane(
    transaction: Transaction,
    batch: Batch,
    *,
    for_capacity: bool = False,
    learned_limit: int | None = None,
    at_least_seconds: float = 0.0,
) -> datetime:
    """Count a refusal of the batch's lane; return until when it pauses."""
    settings = resources().settings
    return back_off(
        transaction,
        batch.lane_id,
        first_seconds=settings.capacity_backoff_seconds
        if for_capacity
        else settings.poll_min_seconds,
        longest_seconds=settings.capacity_backoff_max_seconds,
        at_least_seconds=at_least_seconds,
        learned_limit=learned_limit,
    )


def _wait_for_file(transaction: Transaction, batch: Batch, *, reason: str) -> None:
    """Create again soon; a file that stays unknown too long is uploaded again.

    After each further upload it is waited twice as long, so that a provider that shows files
    late is not sent one after the other for ever.
    """
    settings = resources().settings
    uploads = uploads_of(transaction, batch.batch_id)
    patience_seconds = settings.file_not_found_seconds * 2 ** min(max(uploads - 1, 0), 10)
    pause_seconds = min(FILE_NOT_FOUND_PAUSE_SECONDS, settings.poll_min_seconds)
    put_back_to_uploaded(
        transaction, batch.batch_id, reason=reason,
        not_before=now() + timedelta(seconds=pause_seconds),
    )  # fmt: skip
    if age_seconds(batch.uploaded_at or now(), now()) > patience_seconds:
        put_back_to_planned(transaction, batch, reason=f"uploaded again: {reason}")


# Sending again -------------------------------------------------------------------------------


def _resubmit(transaction: Transaction, batch: Batch, refusal: Refusal, trouble: Trouble) -> None:
    if isinstance(refusal, BadLines):
        _drop_lines(transaction, batch, refusal)
        return
    if POLICY[trouble].counts is Counts.RETURN:
        return_requests(
            transaction, batch, _ending(refusal, trouble), limits=resources().retry_limits
        )
        return
    until = pause_lane(transaction, batch)
    put_back_to_uploaded(transaction, batch.batch_id, reason=reason_of(refusal), not_before=until)
    note_in(transaction, batch.batch_id, failures=batch.failures + 1)


def _drop_lines(transaction: Transaction, batch: Batch, refusal: BadLines) -> None:
    """Fail the requests that the provider named; the others go again as one batch."""
    named = [line.line for line in refusal.lines]
    fail_lines(transaction, batch, named, request_code="obm_batch_refused")
    split_batch(transaction, batch, _ending(refusal, Trouble.LINES_NAMED), pieces=1)


def _send_smaller(
    transaction: Transaction, batch: Batch, refusal: Refusal, facts: RefusedBatch
) -> None:
    if not isinstance(refusal, TokenLimit):
        split_batch(transaction, batch, _ending(refusal, Trouble.NO_LINE_NAMED), pieces=2)
        return
    # The lane's next claims keep to what it has learned, so the requests need no pieces.
    pause_lane(transaction, batch, for_capacity=True, learned_limit=refusal.limit_tokens)
    named = refusal.limit_tokens is not None and batch.tokens > refusal.limit_tokens
    if is_misjudged(facts) and not named:
        be_cautious(transaction, batch.lane_id, tokens=batch.tokens // 2)
    ending = _ending(refusal, Trouble.ABOVE_TOKEN_LIMIT)
    return_requests(transaction, batch, ending, limits=resources().retry_limits)


def _fail(transaction: Transaction, batch: Batch, refusal: Refusal, trouble: Trouble) -> None:
    fail_requests(transaction, batch, _ending(refusal, trouble), request_code="obm_batch_refused")


def lose_batch(batch: Batch, *, reason: str) -> None:
    """Give up a batch that the provider no longer knows; its requests may have been paid."""
    rule = POLICY[Trouble.BATCH_GONE]
    ending = Ending(
        code="batch_lost",
        reason=reason,
        adds_attempt=rule.counts is Counts.ATTEMPT,
        worn_out_code=rule.worn_out_code or "",
    )
    with resources().ledger.transaction() as transaction:
        return_requests(transaction, batch, ending, limits=resources().retry_limits)
