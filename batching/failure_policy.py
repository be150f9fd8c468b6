"""The failure policy: what follows from whatever can go wrong, in one table.

`POLICY` has a rule for every outcome of a call, of a batch and of a line. The decisions below
and the table in `docs/failures.md` both come from it; the steps only carry them out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from batching.lifecycle import RequestState
from batching.outcomes import Answer, Counts, FaultClass, Reaction, Trouble
from batching.refusals import (
    AccountTrouble,
    BadLine,
    BadLines,
    FileNotVisible,
    Passing,
    Refusal,
    RefusedForAll,
    TokenLimit,
    TooLarge,
    WholeFile,
)

REFUSALS_BEFORE_CAUTION = 5
MOST_PASSING_REFUSALS = 5
MOST_REFUSED_UPLOADS = 3
MOST_REFUSED_PIECES = 100
"""So often one batch and its pieces are refused: enough to find some six bad lines of 50,000."""
MOST_REFUSED_IN_VAIN = 15
"""The whole, its halves, quarters and eighths: if none was accepted, it is not for a few lines."""

Outcome: TypeAlias = Trouble | Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What an outcome is, and what follows from it."""

    told: str
    """How it shows, in words for people."""
    fault: FaultClass
    reaction: Reaction
    counts: Counts = Counts.NOTHING
    bound: str = ""
    """How often or how long."""
    then: str = ""
    """What follows once the bound is reached, and other things to know."""
    worn_out_code: str | None = None
    """What a request is told that ends by this without a line of the provider."""


POLICY: Mapping[Outcome, Rule] = {
    Trouble.NO_ANSWER: Rule(
        told="a call is not answered, or with 5xx",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.WAIT,
        bound="as long as it lasts, with growing pauses",
    ),
    Trouble.THROTTLED: Rule(
        told="429 without a token limit",
        fault=FaultClass.CAPACITY,
        reaction=Reaction.WAIT,
        bound="as long as it lasts, at least `Retry-After`",
    ),
    Trouble.CREATE_UNANSWERED: Rule(
        told="a create is not answered, or with 408, 409 or 5xx",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.WAIT,
        bound="`OBM_SUBMIT_PROOF_SECONDS` at least",
        then="the batch is found and adopted, or proven absent and created anew",
    ),
    Trouble.ACCOUNT_REFUSED: Rule(
        told="401, 402, 403, or a code such as `insufficient_quota`",
        fault=FaultClass.ACCOUNT,
        reaction=Reaction.STOP,
        bound="until a probe succeeds",
        then="one alert; the batch goes again by itself",
    ),
    Trouble.EVERYTHING_GONE: Rule(
        told="a batch answers 404 and nothing of ours is visible",
        fault=FaultClass.ACCOUNT,
        reaction=Reaction.STOP,
        bound="until a probe succeeds",
        then="another key or project: nothing is bought again",
    ),
    Trouble.UPLOAD_REFUSED: Rule(
        told="4xx to an upload",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.TRY,
        bound=f"{MOST_REFUSED_UPLOADS} uploads, then as a file refused without naming a line",
    ),
    # Refusals of a whole batch: none of it ran, nothing is paid
    Trouble.FILE_NOT_VISIBLE: Rule(
        told="the input file is not found",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.WAIT,
        bound="`OBM_FILE_NOT_FOUND_SECONDS`, doubling",
        then="uploaded again",
    ),
    Trouble.TOKENS_USED_UP: Rule(
        told="`token_limit_exceeded`",
        fault=FaultClass.CAPACITY,
        reaction=Reaction.WAIT,
        bound="for ever, pauses up to `OBM_CAPACITY_BACKOFF_MAX`",
        then="the limit in the message is learned",
    ),
    Trouble.ABOVE_TOKEN_LIMIT: Rule(
        told="`token_limit_exceeded`, and the batch alone is above the limit",
        fault=FaultClass.CAPACITY,
        reaction=Reaction.SMALLER,
        bound="at once if the message says so, else at the "
        f"{REFUSALS_BEFORE_CAUTION}th refusal while nothing else runs",
        then="the lane's next batches keep below it",
    ),
    Trouble.REFUSED_FOR_NOW: Rule(
        told="a rate limit or a server error as the reason",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.TRY,
        bound=f"{MOST_PASSING_REFUSALS} creates of a batch",
        then="the next row",
    ),
    Trouble.REFUSED_FOR_LONG: Rule(
        told="the same at the last try of the batch",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.RETURN,
        bound="`OBM_MAX_RETURNS`",
        then="`obm_returns_exhausted`",
        worn_out_code="obm_returns_exhausted",
    ),
    Trouble.LINES_NAMED: Rule(
        told="the reasons name lines of the file",
        fault=FaultClass.FILE,
        reaction=Reaction.RESUBMIT,
        bound=f"{MOST_REFUSED_PIECES} refusals of one batch and its pieces",
        then="the named requests fail with `obm_batch_refused` and the reason; "
        "the others go again as one batch",
        worn_out_code="obm_batch_refused",
    ),
    Trouble.NO_LINE_NAMED: Rule(
        told="no reason names a line, none is given, or a line that the file does not have",
        fault=FaultClass.FILE,
        reaction=Reaction.SMALLER,
        bound=f"{MOST_REFUSED_PIECES} refusals of one batch and its pieces; "
        f"{MOST_REFUSED_IN_VAIN} if no piece is accepted",
        then="halves, until the bad request is alone",
        worn_out_code="obm_batch_refused",
    ),
    Trouble.TOO_LARGE: Rule(
        told="413, `file_too_large` or `too_many_tasks`",
        fault=FaultClass.FILE,
        reaction=Reaction.SMALLER,
        bound=f"{MOST_REFUSED_PIECES} refusals of one batch and its pieces",
        then="halves; lower `OBM_BATCH_MAX_BYTES` or `OBM_BATCH_MAX_REQUESTS`",
        worn_out_code="obm_batch_refused",
    ),
    Trouble.REFUSED_FOR_ALL: Rule(
        told="a code about the model or the endpoint, such as `model_not_found`",
        fault=FaultClass.CONTENT,
        reaction=Reaction.FAIL,
        then="every request of the batch: `obm_batch_refused` and the reason",
        worn_out_code="obm_batch_refused",
    ),
    Trouble.REFUSED_FOR_GOOD: Rule(
        told="a file of one request is refused, or a bound above is reached",
        fault=FaultClass.CONTENT,
        reaction=Reaction.FAIL,
        then="`obm_batch_refused` and the reason",
        worn_out_code="obm_batch_refused",
    ),
    # Batches at the provider
    Trouble.BATCH_GONE: Rule(
        told="a batch answers 404 for `OBM_LOST_BATCH_SECONDS`, while others are visible",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.ATTEMPT,
        bound="`OBM_MAX_ATTEMPTS`",
        then="`obm_batch_lost`",
        worn_out_code="obm_batch_lost",
    ),
    Trouble.UNKNOWN_STATUS: Rule(
        told="a status that nobody knows",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.WAIT,
        bound="as long as it lasts, or until `obm cancel`",
    ),
    Trouble.ENDED: Rule(
        told="`completed`, `expired`, `cancelled`, or `failed` with files",
        fault=FaultClass.NONE,
        reaction=Reaction.DELIVER,
        then="both files are read: each request by its own line, see below",
    ),
    Trouble.RESULTS_UNREADABLE: Rule(
        told="a file of an ended batch cannot be read to its end",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.WAIT,
        bound="`OBM_RESULTS_GRACE_SECONDS`",
        then="what could be read counts; the rest is unreadable, see below",
    ),
    # Lines of an ended batch
    Answer.SUCCEEDED: Rule(
        told="a line with 2xx",
        fault=FaultClass.NONE,
        reaction=Reaction.DELIVER,
        counts=Counts.ATTEMPT,
    ),
    Answer.FAILED: Rule(
        told="a line with another 4xx, or an unknown code without a status",
        fault=FaultClass.CONTENT,
        reaction=Reaction.FAIL,
        counts=Counts.ATTEMPT,
        then="delivered as it came, never sent again by itself",
    ),
    Answer.MAY_PASS: Rule(
        told="a line with 408, 429 or 5xx",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.ATTEMPT,
        bound="`OBM_MAX_ATTEMPTS`",
        then="delivered as it came",
    ),
    Answer.ACCOUNT: Rule(
        told="a line with an account's code, such as `insufficient_quota`",
        fault=FaultClass.ACCOUNT,
        reaction=Reaction.STOP,
        bound="until a probe succeeds",
        then="one alert; the request goes again by itself",
    ),
    Answer.NOT_RUN: Rule(
        told="`batch_expired`, `request_timeout`, or a server error in an expired batch",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.RETURN,
        bound="`OBM_MAX_RETURNS`",
        then="`obm_returns_exhausted`; in a cancelled batch `cancelled` at once",
        worn_out_code="obm_returns_exhausted",
    ),
    Answer.MISSING: Rule(
        told="no line, in files that were read to their end",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.RESUBMIT,
        counts=Counts.ATTEMPT,
        bound="`OBM_MAX_ATTEMPTS`",
        then="`obm_results_missing`; in a cancelled batch `cancelled` at once",
        worn_out_code="obm_results_missing",
    ),
    Answer.UNREADABLE: Rule(
        told="no line, and a file stayed unreadable",
        fault=FaultClass.TRANSIENT,
        reaction=Reaction.FAIL,
        counts=Counts.ATTEMPT,
        then="`obm_results_unavailable`: it may have been paid",
        worn_out_code="obm_results_unavailable",
    ),
}


# Batches that were refused as a whole --------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedBatch:
    """What decides about a batch that was refused as a whole."""

    requests: int
    tokens: int = 0
    token_refusals: int = 0
    """How often the token limit has refused it before."""
    failures: int = 0
    """How often passing trouble has refused it before."""
    is_alone: bool = False
    """Nothing else of its lane is on its way."""
    refused_pieces: int = 0
    """How many pieces of the same first batch were refused before, that one included."""
    accepted_pieces: int = 0


def trouble_of(refusal: Refusal, batch: RefusedBatch) -> Trouble:
    """Return which row of the table a refusal is."""
    match refusal:
        case AccountTrouble():
            trouble = Trouble.ACCOUNT_REFUSED
        case TokenLimit(limit_tokens=limit):
            trouble = _token_trouble(limit, batch)
        case FileNotVisible():
            trouble = Trouble.FILE_NOT_VISIBLE
        case Passing():
            is_last = batch.failures + 1 >= MOST_PASSING_REFUSALS
            trouble = Trouble.REFUSED_FOR_LONG if is_last else Trouble.REFUSED_FOR_NOW
        case RefusedForAll():
            trouble = Trouble.REFUSED_FOR_ALL
        case BadLines() | TooLarge() | WholeFile():
            trouble = _file_trouble(refusal, batch)
    return trouble


def _file_trouble(refusal: BadLines | TooLarge | WholeFile, batch: RefusedBatch) -> Trouble:
    refused = batch.refused_pieces + 1
    if refused >= MOST_REFUSED_PIECES:
        return Trouble.REFUSED_FOR_GOOD
    if isinstance(refusal, BadLines) and _are_in_file(refusal.lines, batch.requests):
        return Trouble.LINES_NAMED
    if batch.requests == 1:
        return Trouble.REFUSED_FOR_GOOD
    if isinstance(refusal, TooLarge):
        return Trouble.TOO_LARGE
    in_vain = refused > MOST_REFUSED_IN_VAIN and not batch.accepted_pieces
    return Trouble.REFUSED_FOR_GOOD if in_vain else Trouble.NO_LINE_NAMED


def is_misjudged(batch: RefusedBatch) -> bool:
    """Return whether a batch was estimated too low: refused again and again though alone."""
    return (
        batch.token_refusals + 1 >= REFUSALS_BEFORE_CAUTION
        and batch.requests > 1
        and batch.is_alone
    )


def _token_trouble(limit_tokens: int | None, batch: RefusedBatch) -> Trouble:
    if is_misjudged(batch) or (limit_tokens is not None and batch.tokens > limit_tokens):
        return Trouble.ABOVE_TOKEN_LIMIT
    return Trouble.TOKENS_USED_UP


def _are_in_file(lines: tuple[BadLine, ...], requests: int) -> bool:
    """Tell whether the numbers can be trusted: one beyond the file makes all of them doubtful."""
    return all(1 <= line.line <= requests for line in lines)


# Requests of an ended batch ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryLimits:
    """How often a request is sent again."""

    attempts: int
    returns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What to record for a request."""

    state: RequestState
    attempts: int
    returns: int
    error_code: str | None = None
    """An `obm_` code when there is no provider line that tells the story."""


def settle(
    answer: Answer,
    *,
    attempts: int,
    returns: int,
    cancel_requested: bool,
    cancelled_outside: bool,
    limits: RetryLimits,
) -> Verdict:
    """Return the request's next state.

    `attempts` counts what may have been paid, `returns` what never ran. A request that somebody
    cancelled, here or at the provider, is never bought again by itself; a paid result that
    still arrived wins over the cancellation.
    """
    rule = POLICY[answer]
    attempts += rule.counts is Counts.ATTEMPT
    returns += rule.counts is Counts.RETURN
    state, code = RequestState.PENDING, None
    if rule.reaction is Reaction.DELIVER:
        state = RequestState.SUCCEEDED
    elif rule.reaction is Reaction.FAIL:
        state, code = RequestState.FAILED, rule.worn_out_code
    elif cancel_requested or cancelled_outside:
        state, code = _cancelled(answer, asked_here=cancel_requested)
    elif _is_worn_out(rule.counts, attempts, returns, limits):
        state, code = RequestState.FAILED, rule.worn_out_code
    return Verdict(state=state, attempts=attempts, returns=returns, error_code=code)


def _cancelled(answer: Answer, *, asked_here: bool) -> tuple[RequestState, str | None]:
    """Return the end of a cancelled request; a line that failed by itself stays failed."""
    if answer is Answer.MAY_PASS:
        return RequestState.FAILED, None
    code = "obm_cancelled" if asked_here else "obm_batch_cancelled_outside"
    return RequestState.CANCELLED, code


def _is_worn_out(counts: Counts, attempts: int, returns: int, limits: RetryLimits) -> bool:
    if counts is Counts.ATTEMPT:
        return attempts >= limits.attempts
    return counts is Counts.RETURN and returns > limits.returns
