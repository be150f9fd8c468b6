"""What the provider's refusal of a whole batch leads to."""

import logging
from collections.abc import Sequence

from batching.refusals import BadLine
from storage.batches import Batch, note_in, put_back_to_uploaded
from storage.endings import Ending, fail_lines, fail_requests, return_requests
from storage.lanes import back_off, be_cautious, nothing_else_live
from tasks.resources import resources

logger = logging.getLogger(__name__)

REFUSALS_BEFORE_CAUTION = 5
MOST_PASSING_REFUSALS = 5


def refuse_for_tokens(batch: Batch, *, limit_tokens: int | None, reason: str) -> None:
    """Let a batch that the token limit kept out wait, or split it if it can never fit.

    Such a refusal uses up none of a request's attempts or returns. A batch that is refused
    again and again though it is alone and seems to fit was estimated too low: it is split.
    """
    settings = resources().settings
    with resources().ledger.transaction() as transaction:
        until = back_off(
            transaction,
            batch.lane_id,
            first_seconds=settings.capacity_backoff_seconds,
            longest_seconds=settings.capacity_backoff_max_seconds,
            learned_limit=limit_tokens,
        )
        too_large = limit_tokens is not None and batch.tokens > limit_tokens
        misjudged = (
            batch.token_refusals + 1 >= REFUSALS_BEFORE_CAUTION
            and batch.requests > 1
            and nothing_else_live(transaction, batch.lane_id, batch.batch_id)
        )
        if misjudged and not too_large:
            be_cautious(transaction, batch.lane_id, tokens=batch.tokens // 2)
        if too_large or misjudged:
            ending = Ending(code="token_limit_exceeded", reason=reason)
            return_requests(transaction, batch, ending, limits=resources().retry_limits)
        else:
            put_back_to_uploaded(transaction, batch.batch_id, reason=reason, not_before=until)
            note_in(transaction, batch.batch_id, token_refusals=batch.token_refusals + 1)
    logger.info(
        "batch refused for tokens",
        extra={"batch_id": batch.batch_id, "limit_tokens": limit_tokens, "split": too_large},
    )


def submit_again(batch: Batch, *, reason: str, counted: bool) -> None:
    """Create the batch again after a pause; a counted refusal may not come too often."""
    settings = resources().settings
    with resources().ledger.transaction() as transaction:
        if counted and batch.failures + 1 >= MOST_PASSING_REFUSALS:
            ending = Ending(code="refused", reason=reason, adds_return=True)
            return_requests(transaction, batch, ending, limits=resources().retry_limits)
            return
        until = back_off(
            transaction,
            batch.lane_id,
            first_seconds=settings.poll_min_seconds,
            longest_seconds=settings.capacity_backoff_max_seconds,
        )
        put_back_to_uploaded(transaction, batch.batch_id, reason=reason, not_before=until)
        note_in(transaction, batch.batch_id, failures=batch.failures + int(counted))


def drop_lines(batch: Batch, lines: Sequence[BadLine]) -> None:
    """Fail the requests that the provider named; the others, which never ran, go again."""
    reason = "; ".join(f"line {line.line}: {line.code}: {line.message}" for line in lines[:20])
    with resources().ledger.transaction() as transaction:
        named = [line.line for line in lines]
        fail_lines(transaction, batch, named, request_code="obm_batch_refused")
        ending = Ending(code=lines[0].code or "bad_line", reason=reason, adds_return=True)
        return_requests(transaction, batch, ending, limits=resources().retry_limits)


def fail_file(batch: Batch, *, code: str, reason: str) -> None:
    """Fail every request of a batch that the provider refused without naming a line."""
    with resources().ledger.transaction() as transaction:
        ending = Ending(code=code, reason=f"{code}: {reason}")
        fail_requests(transaction, batch, ending, request_code="obm_batch_refused")


def lose_batch(batch: Batch, *, reason: str) -> None:
    """Give up a batch that the provider no longer knows; its requests may have been paid."""
    with resources().ledger.transaction() as transaction:
        ending = Ending(
            code="batch_lost", reason=reason, adds_attempt=True, worn_out_code="obm_batch_lost"
        )
        return_requests(transaction, batch, ending, limits=resources().retry_limits)
