from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.failure_policy import RetryLimits, Verdict, settle
from batching.lifecycle import REQUEST_TRANSITIONS, RequestState
from batching.outcomes import Answer
from batching.retry import growing_pause_seconds, poll_pause

LIMITS = RetryLimits(attempts=3, returns=10)
COUNTED = [answer for answer in Answer if answer is not Answer.ACCOUNT]
"""An account in trouble is waited for, however long it takes."""
PENDING, SUCCEEDED, FAILED, CANCELLED = (
    RequestState.PENDING,
    RequestState.SUCCEEDED,
    RequestState.FAILED,
    RequestState.CANCELLED,
)


def settled(
    answer: Answer,
    attempts: int = 0,
    returns: int = 0,
    *,
    cancel_requested: bool = False,
    cancelled_outside: bool = False,
) -> Verdict:
    return settle(
        answer,
        attempts=attempts,
        returns=returns,
        cancel_requested=cancel_requested,
        cancelled_outside=cancelled_outside,
        limits=LIMITS,
    )


@pytest.mark.parametrize(
    ("answer", "attempts", "returns", "expected"),
    [
        (Answer.SUCCEEDED, 0, 0, (SUCCEEDED, 1, 0, None)),
        (Answer.SUCCEEDED, 2, 10, (SUCCEEDED, 3, 10, None)),
        (Answer.FAILED, 0, 0, (FAILED, 1, 0, None)),
        (Answer.MAY_PASS, 0, 0, (PENDING, 1, 0, None)),
        (Answer.MAY_PASS, 1, 10, (PENDING, 2, 10, None)),
        (Answer.MAY_PASS, 2, 0, (FAILED, 3, 0, None)),
        (Answer.NOT_RUN, 0, 0, (PENDING, 0, 1, None)),
        (Answer.NOT_RUN, 2, 9, (PENDING, 2, 10, None)),
        (Answer.NOT_RUN, 0, 10, (FAILED, 0, 11, "obm_returns_exhausted")),
        (Answer.ACCOUNT, 2, 10, (PENDING, 2, 10, None)),
        (Answer.MISSING, 0, 0, (PENDING, 1, 0, None)),
        (Answer.MISSING, 2, 0, (FAILED, 3, 0, "obm_results_missing")),
        (Answer.UNREADABLE, 0, 0, (FAILED, 1, 0, "obm_results_unavailable")),
    ],
)
def test_each_answer_leads_to_its_state(
    answer: Answer, attempts: int, returns: int, expected: tuple[object, ...]
) -> None:
    verdict = settled(answer, attempts, returns)
    assert (verdict.state, verdict.attempts, verdict.returns, verdict.error_code) == expected


@pytest.mark.parametrize("asked_here", [True, False])
@pytest.mark.parametrize(
    ("answer", "state", "own_code"),
    [
        (Answer.SUCCEEDED, SUCCEEDED, False),
        (Answer.FAILED, FAILED, False),
        (Answer.MAY_PASS, FAILED, False),
        (Answer.NOT_RUN, CANCELLED, True),
        (Answer.ACCOUNT, CANCELLED, True),
        (Answer.MISSING, CANCELLED, True),
    ],
)
def test_a_cancelled_request_is_never_bought_again_but_a_paid_answer_wins(
    answer: Answer,
    state: RequestState,
    *,
    own_code: bool,
    asked_here: bool,
) -> None:
    verdict = settled(answer, cancel_requested=asked_here, cancelled_outside=not asked_here)
    code = "obm_cancelled" if asked_here else "obm_batch_cancelled_outside"
    assert verdict.state is state
    assert verdict.error_code == (code if own_code else None)


def test_an_operators_wish_is_named_before_the_providers() -> None:
    verdict = settled(Answer.NOT_RUN, cancel_requested=True, cancelled_outside=True)
    assert verdict.error_code == "obm_cancelled"


@given(
    answers=st.lists(st.sampled_from(COUNTED), min_size=200, max_size=200),
    attempts=st.integers(1, 5),
    returns=st.integers(0, 12),
    cancel_after=st.integers(0, 40),
)
def test_whatever_comes_back_a_request_ends_within_its_limits(
    answers: list[Answer], attempts: int, returns: int, cancel_after: int
) -> None:
    limits = RetryLimits(attempts=attempts, returns=returns)
    verdict = Verdict(state=PENDING, attempts=0, returns=0)
    for number, answer in enumerate(answers):
        before = verdict
        verdict = settle(
            answer,
            attempts=before.attempts,
            returns=before.returns,
            cancel_requested=number >= cancel_after,
            cancelled_outside=False,
            limits=limits,
        )
        assert verdict.state in REQUEST_TRANSITIONS[RequestState.BATCHED]
        assert verdict.attempts + verdict.returns == before.attempts + before.returns + 1
        assert verdict.attempts <= attempts
        assert verdict.returns <= returns + 1
        if verdict.state is not PENDING:
            break
    assert verdict.state is not PENDING


@pytest.mark.parametrize(
    ("tries", "pause"), [(0, 0.0), (1, 60.0), (2, 120.0), (3, 240.0), (6, 1800.0), (10_000, 1800.0)]
)
def test_pauses_double_up_to_the_longest(tries: int, pause: float) -> None:
    assert growing_pause_seconds(tries, first_seconds=60, longest_seconds=1800) == pause


@pytest.mark.parametrize(
    ("age_seconds", "pause"), [(0, 15), (150, 15), (151, 15.1), (3000, 300), (90_000, 300)]
)
def test_batches_are_looked_at_after_a_tenth_of_their_age(age_seconds: int, pause: float) -> None:
    found = poll_pause(timedelta(seconds=age_seconds), shortest_seconds=15, longest_seconds=300)
    assert found == timedelta(seconds=pause)
