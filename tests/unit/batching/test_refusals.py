"""Each refusal of a provider leads to one decision."""

import pytest

from batching.provider import BatchFault
from batching.refusals import (
    AccountTrouble,
    BadLine,
    BadLines,
    FileNotVisible,
    Passing,
    TokenLimit,
    WholeFile,
    fault_in_body,
    refusal_of,
)

FULL_QUEUE = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 2,000,000 "
    "enqueued tokens. Please try again once some in_progress batches have been completed."
)
MISSING = "Cannot find file file-1, or organization org-1 does not have access to it."


@pytest.mark.parametrize("code", ["token_limit_exceeded", None])
def test_the_token_limit_is_known_by_code_or_text_and_its_number_is_learned(
    code: str | None,
) -> None:
    assert refusal_of([BatchFault(code=code, message=FULL_QUEUE)]) == TokenLimit(
        limit_tokens=2_000_000, message=FULL_QUEUE
    )


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("Limit: 90000 enqueued tokens", 90_000),
        ("limit : 1,500", 1_500),
        ("Limit: , none", None),
        ("Limit: 0", None),
        ("Limit: " + "9" * 5_000, None),
        ("no number", None),
    ],
)
def test_the_number_behind_limit_is_taken(message: str, tokens: int | None) -> None:
    refusal = refusal_of([BatchFault(code="token_limit_exceeded", message=message)])

    assert refusal == TokenLimit(limit_tokens=tokens, message=message)


def test_a_missing_input_file_is_told_apart() -> None:
    assert refusal_of([BatchFault(code="invalid_request", message=MISSING)]) == FileNotVisible(
        message=MISSING
    )


@pytest.mark.parametrize(
    "fault",
    [
        BatchFault(code="rate_limit_exceeded", message="slow down"),
        BatchFault(code="server_error", message="sorry"),
        BatchFault(message="The server had an error while processing your request."),
    ],
)
def test_trouble_of_the_provider_passes(fault: BatchFault) -> None:
    assert refusal_of([fault]) == Passing(code=fault.code, message=fault.message)


def test_all_lines_that_are_named_come_back_together() -> None:
    faults = [
        BatchFault(code="invalid_json_line", message="not JSON", line=3),
        BatchFault(code="duplicate_custom_id", message="twice", line=9),
        BatchFault(code="other", message="and something without a line"),
    ]

    assert refusal_of(faults) == BadLines(
        lines=(
            BadLine(line=3, code="invalid_json_line", message="not JSON"),
            BadLine(line=9, code="duplicate_custom_id", message="twice"),
        )
    )


@pytest.mark.parametrize(
    "fault",
    [
        BatchFault(code="insufficient_quota", message="x"),
        BatchFault(code="billing_hard_limit_reached", message="x"),
        BatchFault(code="invalid_api_key", message="x"),
        BatchFault(message="Your account associated with this key has been deactivated."),
        BatchFault(message="You exceeded your current quota, please check your plan."),
    ],
)
def test_trouble_with_the_account_comes_before_everything_else(fault: BatchFault) -> None:
    faults = [BatchFault(code="token_limit_exceeded", message=FULL_QUEUE), fault]

    assert refusal_of(faults) == AccountTrouble(code=fault.code, message=fault.message)


@pytest.mark.parametrize("code", ["mismatched_model", "model_mismatch", "empty_file", None])
def test_anything_else_concerns_the_whole_file(code: str | None) -> None:
    assert refusal_of([BatchFault(code=code, message="why")]) == WholeFile(code=code, message="why")


def test_a_reason_that_lasts_counts_more_than_one_that_passes() -> None:
    faults = [
        BatchFault(code="server_error", message="sorry"),
        BatchFault(code="empty_file", message="empty"),
    ]

    assert refusal_of(faults) == WholeFile(code="empty_file", message="empty")


def test_no_reason_at_all_concerns_the_whole_file() -> None:
    assert refusal_of([]) == WholeFile(code=None, message="the provider gave no reason")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
            BatchFault(code="c", message="m", param="p"),
        ),
        ({"error": {"message": "m", "type": "t", "code": None}}, BatchFault(code="t", message="m")),
        ({"message": "m", "code": 40003}, BatchFault(code="40003", message="m")),
        ({"error": "plain"}, BatchFault(message="plain")),
        ({"detail": "Not Found"}, BatchFault(message="Not Found")),
        ("<html>bad gateway</html>", BatchFault(message="<html>bad gateway</html>")),
        ({}, BatchFault(message="{}")),
        (None, BatchFault(message="nothing")),
    ],
)
def test_a_fault_is_found_in_every_shape_of_error_body(body: object, fault: BatchFault) -> None:
    assert fault_in_body(body) == fault
