from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from simulator import inspection, limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Account
    from openai.types.batch_error import BatchError

CHAT = "/v1/chat/completions"


def chat(custom_id: str | int = "a", model: str = "m", **changes: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | changes


def refusals(account: Account, lines: list[Any], endpoint: str = CHAT) -> list[BatchError]:
    paid = account.simulator.counters()["lines_executed"]
    batch = account.run(lines, endpoint)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.output_file_id is None
    assert account.simulator.counters()["lines_executed"] == paid
    assert batch.errors is not None
    return batch.errors.data or []


@pytest.mark.parametrize(
    ("lines", "code", "line", "param"),
    [
        ([chat(), b'{"custom_id": "b", "meth'], "invalid_json_line", 2, None),
        ([b"\xef\xbb\xbf" + json.dumps(chat()).encode()], "invalid_json_line", 1, None),
        ([chat(), chat("b"), chat()], "duplicate_custom_id", 3, "custom_id"),
        ([chat(), chat("b", url="/v1/responses")], "url_mismatch", 2, "url"),
        ([chat(), chat("b", method="GET")], "invalid_method", 2, "method"),
        ([chat(), chat("b", model="n")], "model_mismatch", 2, "body.model"),
        ([chat(body={"messages": []})], "missing_required_parameter", 1, "body.model"),
        ([chat(custom_id=5)], "missing_required_parameter", 1, "custom_id"),
        ([b"[]"], "invalid_type", 1, "body"),
        ([chat(body=[])], "invalid_type", 1, "body"),
        ([chat(body={"model": "m", "stream": True})], "unsupported_value", 1, "body.stream"),
        ([], "empty_file", None, None),
        ([b"", b" "], "empty_file", None, None),
    ],
)
def test_a_bad_file_fails_the_batch_and_names_the_line(
    account: Account, lines: list[Any], code: str, line: int | None, param: str | None
) -> None:
    (error,) = refusals(account, lines)
    assert (error.code, error.line, error.param) == (code, line, param)
    assert error.message


def test_blank_lines_do_not_shift_the_line_numbers(account: Account) -> None:
    (error,) = refusals(account, [chat(), b"", b"{"])
    assert error.line == 3


def test_every_bad_line_is_named_up_to_a_hundred(account: Account) -> None:
    errors = refusals(account, [b"{"] * 150)
    assert [error.line for error in errors] == list(range(1, 101))


@pytest.fixture
def inspect(tmp_path: Path) -> Callable[..., inspection.Inspection]:
    def run(lines: list[dict[str, Any]], endpoint: str = CHAT) -> inspection.Inspection:
        path = tmp_path / "input.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return inspection.inspect_file(path, endpoint)

    return run


def test_the_largest_file_passes_and_one_line_more_does_not(
    inspect: Callable[..., inspection.Inspection],
) -> None:
    lines = [chat(str(number)) for number in range(limits.MAX_REQUESTS + 1)]
    assert inspect(lines[:-1]).errors == []
    (error,) = inspect(lines).errors
    assert error.code == "too_many_tasks"


def test_embedding_inputs_are_counted_over_the_whole_file(
    inspect: Callable[..., inspection.Inspection],
) -> None:
    def embed(custom_id: str, given: Any) -> dict[str, Any]:
        return chat(custom_id, url="/v1/embeddings", body={"model": "m", "input": given})

    half = ["x"] * 25_000
    assert inspect([embed("a", half), embed("b", half)], "/v1/embeddings").errors == []
    tokens = [embed("a", half), embed("b", half[1:]), embed("c", [1, 2, 3])]
    assert inspect(tokens, "/v1/embeddings").errors == []
    (error,) = inspect([*tokens, embed("d", "one")], "/v1/embeddings").errors
    assert error.code == "too_many_tasks"


def test_a_file_over_200_mb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024 + 1)
    (error,) = inspection.inspect_file(path, CHAT).errors
    assert error.code == "file_too_large"


def test_tokens_are_counted_from_the_text_that_the_model_reads(
    inspect: Callable[..., inspection.Inspection],
) -> None:
    message = {"role": "user", "content": "x" * 4_000}
    long = chat(body={"model": "m", "messages": [message], "user": "y" * 9_000})
    assert inspect([long]).tokens == 1_001
