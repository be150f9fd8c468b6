import re

import pytest
from documents import settings_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.failure_policy import (
    MOST_REFUSED_IN_VAIN,
    MOST_REFUSED_PIECES,
    POLICY,
    RefusedBatch,
    trouble_of,
)
from batching.outcomes import Answer, FaultClass, Reaction, Trouble
from batching.provider import BatchFault
from batching.refusals import Refusal, refusal_of
from batching.result_lines import OwnCode, ResultLine, outcome_of

UNNAMED = refusal_of([BatchFault(code="invalid_request", message="something is wrong")])


def named(*lines: int) -> Refusal:
    return refusal_of([BatchFault(code="bad", message="bad", line=line) for line in lines])


def test_every_outcome_has_a_rule() -> None:
    assert set(POLICY) == {*Trouble, *Answer}


def test_what_the_rules_name_exists() -> None:
    text = " ".join(f"{rule.bound} {rule.then}" for rule in POLICY.values())
    assert set(re.findall(r"OBM_[A-Z_]+", text)) <= set(settings_rows())
    assert set(re.findall(r"obm_[a-z_]+", text)) <= set(OwnCode)
    assert {rule.worn_out_code for rule in POLICY.values()} - {None} <= set(OwnCode)


def test_only_the_account_stops_lanes_and_only_content_is_final_at_once() -> None:
    stopping = {rule.fault for rule in POLICY.values() if rule.reaction is Reaction.STOP}
    assert stopping == {FaultClass.ACCOUNT}
    failing = {outcome for outcome, rule in POLICY.items() if rule.reaction is Reaction.FAIL}
    content = {outcome for outcome, rule in POLICY.items() if rule.fault is FaultClass.CONTENT}
    assert failing == content | {Answer.UNREADABLE}


@pytest.mark.parametrize(
    ("code", "message", "trouble"),
    [
        ("insufficient_quota", "no credit", Trouble.ACCOUNT_REFUSED),
        ("token_limit_exceeded", "Limit: 2,000", Trouble.TOKENS_USED_UP),
        ("token_limit_exceeded", "Limit: 900", Trouble.ABOVE_TOKEN_LIMIT),
        ("server_error", "oh", Trouble.REFUSED_FOR_NOW),
        ("model_not_found", "no such model", Trouble.REFUSED_FOR_ALL),
        ("file_too_large", "too large", Trouble.TOO_LARGE),
        ("too_many_tasks", "too many", Trouble.TOO_LARGE),
        ("invalid_file", "Cannot find file file-1, or", Trouble.FILE_NOT_VISIBLE),
        ("never_heard_of", "what?", Trouble.NO_LINE_NAMED),
        (None, "", Trouble.NO_LINE_NAMED),
    ],
)
def test_each_reason_has_its_row(code: str | None, message: str, trouble: Trouble) -> None:
    faults = [BatchFault(code=code, message=message)] if code else []
    assert trouble_of(refusal_of(faults), RefusedBatch(requests=10, tokens=1_000)) is trouble


@pytest.mark.parametrize(
    ("status", "code", "answer"),
    [
        (429, "insufficient_quota", Answer.ACCOUNT),
        (401, "invalid_api_key", Answer.ACCOUNT),
        (None, "insufficient_quota", Answer.ACCOUNT),
        (408, None, Answer.MAY_PASS),
        (429, "rate_limit_exceeded", Answer.MAY_PASS),
        (400, "never_heard_of", Answer.FAILED),
        (None, "never_heard_of", Answer.FAILED),
        (None, "server_error", Answer.MAY_PASS),
    ],
)
def test_a_failed_line_is_sent_again_only_if_its_error_may_pass(
    status: int | None, code: str | None, answer: Answer
) -> None:
    line = ResultLine(custom_id="a", id_start=0, id_end=0, status_code=status, error_code=code)
    assert outcome_of(line, batch_status="completed") is answer


@pytest.mark.parametrize(
    ("lines", "trouble"),
    [
        ((1, 10), Trouble.LINES_NAMED),
        ((0,), Trouble.NO_LINE_NAMED),
        ((11,), Trouble.NO_LINE_NAMED),
        ((3, 11), Trouble.NO_LINE_NAMED),
    ],
)
def test_numbers_that_the_file_does_not_have_are_not_believed(
    lines: tuple[int, ...], trouble: Trouble
) -> None:
    assert trouble_of(named(*lines), RefusedBatch(requests=10)) is trouble


def test_passing_trouble_and_the_token_limit_change_their_row_when_they_come_again() -> None:
    passing = refusal_of([BatchFault(code="server_error", message="oh")])
    assert trouble_of(passing, RefusedBatch(requests=2, failures=4)) is Trouble.REFUSED_FOR_LONG
    full = refusal_of([BatchFault(code="token_limit_exceeded", message="full")])
    again = {"requests": 2, "token_refusals": 4}
    assert trouble_of(full, RefusedBatch(**again)) is Trouble.TOKENS_USED_UP
    alone = RefusedBatch(**again, is_alone=True)
    assert trouble_of(full, alone) is Trouble.ABOVE_TOKEN_LIMIT


def creates(size: int, bad: set[int], *, first: int = 0) -> tuple[int, set[int]]:
    """Return how many creates halving costs, and which requests fail, as batches would go."""
    waiting, made, refused, accepted = [(first, size)], 0, 0, 0
    failed: set[int] = set()
    while waiting:
        start, length = waiting.pop(0)
        made += 1
        inside = set(range(start, start + length))
        if not inside & bad:
            accepted += 1
            continue
        facts = RefusedBatch(requests=length, refused_pieces=refused, accepted_pieces=accepted)
        refused += 1
        if trouble_of(UNNAMED, facts) is Trouble.NO_LINE_NAMED:
            half = (length + 1) // 2
            waiting += [(start, half), (start + half, length - half)]
        else:
            failed |= inside
    return made, failed


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 50_000), data=st.data())
def test_one_bad_line_is_found_with_twice_the_logarithm_of_creates(
    size: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, size - 1))
    made, failed = creates(size, {bad})
    assert failed == {bad}
    assert made <= 2 * (size - 1).bit_length() + 1


def test_a_few_bad_lines_of_a_full_batch_are_found() -> None:
    bad = {1, 12_345, 12_346, 30_000, 49_999}
    made, failed = creates(50_000, bad)
    assert failed == bad
    assert made <= 2 * 16 * len(bad) + 1


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 50_000), step=st.integers(1, 5))
def test_a_file_full_of_bad_lines_is_given_up_soon(size: int, step: int) -> None:
    made, failed = creates(size, set(range(0, size, step)))
    assert set(range(0, size, step)) <= failed
    assert made <= 2 * MOST_REFUSED_PIECES + 1
    if step == 1:
        assert made <= 2 * MOST_REFUSED_IN_VAIN + 1
