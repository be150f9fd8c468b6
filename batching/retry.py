"""What becomes of a request after its batch has ended, and how long pauses last."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from batching.lifecycle import RequestState


class Answer(StrEnum):
    """What the provider's files say about one request of an ended batch."""

    SUCCEEDED = "succeeded"
    """A line with a 2xx status."""
    FAILED = "failed"
    """A line with an error that stays."""
    MAY_PASS = "may_pass"  # noqa: S105 - an answer, no password
    """A line with an error that may pass: 429 or 5xx."""
    NOT_RUN = "not_run"
    """A line that says that the request was not executed."""
    MISSING = "missing"
    """No line, in files that were read completely."""
    UNREADABLE = "unreadable"
    """No line, and the files could not be read to the end of the grace period."""


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
    if answer in (Answer.SUCCEEDED, Answer.FAILED):
        state = RequestState.SUCCEEDED if answer is Answer.SUCCEEDED else RequestState.FAILED
        return Verdict(state=state, attempts=attempts + 1, returns=returns)
    if answer is Answer.UNREADABLE:
        return Verdict(
            state=RequestState.FAILED,
            attempts=attempts + 1,
            returns=returns,
            error_code="obm_results_unavailable",
        )
    ran = answer is not Answer.NOT_RUN
    counted = (attempts + 1, returns) if ran else (attempts, returns + 1)
    if cancel_requested or cancelled_outside:
        return _cancelled(answer, counted, asked_here=cancel_requested)
    return _again_or_not(answer, counted, limits)


def _cancelled(answer: Answer, counted: tuple[int, int], *, asked_here: bool) -> Verdict:
    """Return the end of a cancelled request; a line that failed by itself stays failed."""
    if answer is Answer.MAY_PASS:
        return Verdict(state=RequestState.FAILED, attempts=counted[0], returns=counted[1])
    return Verdict(
        state=RequestState.CANCELLED,
        attempts=counted[0],
        returns=counted[1],
        error_code="obm_cancelled" if asked_here else "obm_batch_cancelled_outside",
    )


def _again_or_not(answer: Answer, counted: tuple[int, int], limits: RetryLimits) -> Verdict:
    attempts, returns = counted
    worn_out = returns > limits.returns if answer is Answer.NOT_RUN else attempts >= limits.attempts
    if not worn_out:
        return Verdict(state=RequestState.PENDING, attempts=attempts, returns=returns)
    codes = {Answer.NOT_RUN: "obm_returns_exhausted", Answer.MISSING: "obm_results_missing"}
    return Verdict(
        state=RequestState.FAILED,
        attempts=attempts,
        returns=returns,
        error_code=codes.get(answer),
    )


def growing_pause_seconds(tries: int, *, first_seconds: float, longest_seconds: float) -> float:
    """Return the pause after so many failures in a row: doubling, up to the longest."""
    if tries <= 0:
        return 0.0
    return min(first_seconds * 2.0 ** min(tries - 1, 30), longest_seconds)


def poll_pause(age: timedelta, *, shortest_seconds: float, longest_seconds: float) -> timedelta:
    """Return when to look at a batch again: a tenth of its age, within the bounds."""
    seconds = min(max(age.total_seconds() / 10.0, shortest_seconds), longest_seconds)
    return timedelta(seconds=max(seconds, min(shortest_seconds, longest_seconds)))
