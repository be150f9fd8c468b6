"""What providers send is read whatever its shape; only an answer without an id is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.errors import ProviderUnavailable
from batching.provider import (
    BatchFault,
    Phase,
    ProviderFile,
    TokenUsage,
    read_batch,
    read_file,
    read_usage,
)

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "model": "gpt-5-2025-08-07",
    "input_file_id": "file-in",
    "output_file_id": "file-out",
    "error_file_id": "file-err",
    "status": "completed",
    "created_at": 1_790_000_000,
    "in_progress_at": 1_790_000_010,
    "completed_at": 1_790_000_100,
    "expires_at": 1_790_086_400,
    "request_counts": {"total": 3, "completed": 2, "failed": 1},
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 16,
    },
    "errors": None,
    "metadata": {"obm_batch": "7"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def changed(**fields: Any) -> dict[str, Any]:
    return {**BATCH, **fields}


def test_a_complete_batch_is_read_field_by_field() -> None:
    batch = read_batch(BATCH)

    assert (batch.id, batch.status, batch.phase, batch.known) == (
        "batch_1",
        "completed",
        Phase.ENDED,
        True,
    )
    assert (batch.endpoint, batch.model) == ("/v1/chat/completions", "gpt-5-2025-08-07")
    assert (batch.input_file_id, batch.output_file_id, batch.error_file_id) == (
        "file-in",
        "file-out",
        "file-err",
    )
    assert (batch.total, batch.completed, batch.failed) == (3, 2, 1)
    assert batch.created_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert batch.ended_at == datetime.fromtimestamp(1_790_000_100, UTC)
    assert batch.usage == TokenUsage(
        input_tokens=10, cached_tokens=4, output_tokens=6, reasoning_tokens=2
    )
    assert batch.metadata == {"obm_batch": "7"}
    assert batch.errors == ()


@pytest.mark.parametrize(
    ("status", "read", "phase", "known"),
    [
        ("validating", "validating", Phase.WAITING, True),
        ("in_progress", "in_progress", Phase.WAITING, True),
        ("finalizing", "finalizing", Phase.WAITING, True),
        ("cancelling", "cancelling", Phase.WAITING, True),
        ("completed", "completed", Phase.ENDED, True),
        ("failed", "failed", Phase.ENDED, True),
        ("expired", "expired", Phase.ENDED, True),
        ("cancelled", "cancelled", Phase.ENDED, True),
        ("COMPLETED", "completed", Phase.ENDED, True),
        ("canceled", "cancelled", Phase.ENDED, True),
        ("pondering", "pondering", Phase.WAITING, False),
        (None, "", Phase.WAITING, False),
    ],
)
def test_only_the_four_final_statuses_end_a_batch(
    status: str | None, read: str, phase: Phase, *, known: bool
) -> None:
    batch = read_batch(changed(status=status))

    assert (batch.status, batch.phase, batch.known) == (read, phase, known)


@pytest.mark.parametrize("nothing", ["", None, 0, [], {}])
def test_file_ids_that_say_nothing_are_none(nothing: object) -> None:
    batch = read_batch(changed(output_file_id=nothing, error_file_id=nothing))

    assert (batch.output_file_id, batch.error_file_id) == (None, None)


@pytest.mark.parametrize("counts", [None, "3", [], {"total": None}, {"total": -1}, {"total": "3"}])
def test_counts_that_cannot_be_trusted_are_none(counts: object) -> None:
    batch = read_batch(changed(request_counts=counts))

    assert (batch.total, batch.completed, batch.failed) == (None, None, None)


@pytest.mark.parametrize("count", [2**31, 10**40, 1e300])
def test_counts_that_nobody_can_have_counted_are_none(count: object) -> None:
    batch = read_batch(changed(request_counts={"total": count, "completed": count, "failed": 1}))

    assert (batch.total, batch.completed, batch.failed) == (None, None, 1)


def test_halves_of_surrogate_pairs_are_replaced_wherever_text_is_read() -> None:
    batch = read_batch(
        changed(
            status="\ud800", model="a\udc00", output_file_id="\ud800",
            metadata={"obm_batch": "\ud800"}, errors=["\ud800", {"code": {"\ud800": 1}}],
        )
    )  # fmt: skip

    texts = (batch.status, batch.model, batch.output_file_id, batch.metadata["obm_batch"])
    assert texts == ("?", "a?", "?", "?")
    assert batch.errors[0].message == "?"
    str(batch.errors).encode()


def test_faults_keep_code_message_line_and_param() -> None:
    fault = {"code": "invalid_json_line", "message": "bad", "line": 7, "param": None}

    batch = read_batch(changed(errors={"object": "list", "data": [fault, {"code": None}, None]}))

    assert batch.errors == (BatchFault(code="invalid_json_line", message="bad", line=7),)


@pytest.mark.parametrize("errors", [{"code": "x", "message": "m"}, [{"code": "x", "message": "m"}]])
def test_faults_in_other_shapes_are_found_too(errors: object) -> None:
    assert read_batch(changed(errors=errors)).errors == (BatchFault(code="x", message="m"),)


@pytest.mark.parametrize(
    "answer",
    ["<html>sign in</html>", None, [], {}, {"id": ""}, {"id": None}, {"error": {"message": "x"}}],
)
def test_an_answer_without_an_id_is_refused_and_shown(answer: object) -> None:
    with pytest.raises(ProviderUnavailable, match=r"no batch but: .+OPENAI_BASE_URL"):
        read_batch(answer)
    with pytest.raises(ProviderUnavailable, match="no file but: "):
        read_file(answer)


def test_a_long_answer_is_shown_in_part() -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        read_batch("<p>" * 10_000)

    assert len(str(caught.value)) < 400


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(BATCH)), JSON))
def test_odd_fields_never_fail_a_batch_or_a_file(fields: dict[str, Any]) -> None:
    odd = {**BATCH, **fields, "id": "batch_1"}

    assert read_batch(odd).id == "batch_1"
    assert read_file(odd).id == "batch_1"


def test_a_file_is_read_with_its_size_and_times() -> None:
    raw = {
        "id": "file-1",
        "bytes": 12,
        "purpose": "batch_output",
        "filename": "o.jsonl",
        "created_at": 1_790_000_000,
        "expires_at": None,
    }

    assert read_file(raw) == ProviderFile(
        id="file-1",
        bytes=12,
        purpose="batch_output",
        filename="o.jsonl",
        created_at=datetime.fromtimestamp(1_790_000_000, UTC),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-23T12:00:00Z", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("2026-11-23T13:00:00+01:00", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("soon", None),
        (1e300, None),
        (float("nan"), None),
        (True, None),
        (0, None),
    ],
)
def test_times_are_unix_seconds_or_iso_8601(value: object, expected: datetime | None) -> None:
    assert read_batch(changed(created_at=value)).created_at == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 5}, TokenUsage(input_tokens=5)),
        ({"prompt_tokens": 5, "completion_tokens": 2}, TokenUsage(input_tokens=5, output_tokens=2)),
        ({"input_tokens": 5.0, "output_tokens": 2}, TokenUsage(input_tokens=5, output_tokens=2)),
        ({"total_tokens": 5}, None),
        (None, None),
        ("5", None),
    ],
)
def test_usage_is_read_in_the_words_of_every_endpoint(
    usage: object, expected: TokenUsage | None
) -> None:
    assert read_usage(usage) == expected
