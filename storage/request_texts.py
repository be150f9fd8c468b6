"""The texts of one request: what was sent, and each answer that came back for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl

from storage.directory import DataDirectory
from storage.result_files import delivered_line, result_path
from storage.result_reading import read_range
from storage.segment_reading import read_rows
from storage.segments import segment_path

_ANSWER: Final = (
    "segment", "row_index", "custom_id", "status", "status_code", "error_code", "error_message",
    "model", "finish_reason", "input_tokens", "output_tokens", "request_id", "content",
    "id_start", "id_end", "line",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back for a request."""

    result_id: int
    status: str | None
    status_code: int | None
    error_code: str | None
    error_message: str | None
    model: str | None
    finish_reason: str | None
    request_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    content: str | None
    """The text in it, as the parts of the outbox have it."""
    line: bytes
    """The whole line, as it is delivered."""


def body_of(directory: DataDirectory, request: Mapping[str, Any]) -> bytes | None:
    """Return the body of a request byte for byte; None if its segment was forgotten."""
    path = segment_path(directory.segments, request["segment"])
    try:
        tables = list(read_rows(path, [request["row_index"]], ["body"]))
    except (FileNotFoundError, IndexError):
        return None
    body: bytes = tables[0]["body"][0].as_py()
    return body


def line_of(request: Mapping[str, Any], body: bytes) -> bytes:
    """Return the request line around a body, as it was accepted but for the spaces in it."""
    head = {"custom_id": request["custom_id"], "method": "POST", "url": request["url"]}
    return msgspec.json.encode(head)[:-1] + b',"body":' + body + b"}"


def answer_of(
    directory: DataDirectory, request: Mapping[str, Any], result_id: int | None
) -> Answer | None:
    """Return what a result file has for the request; None if it has nothing."""
    if result_id is None:
        return None
    place = pl.DataFrame({name: [request[name]] for name in ("segment", "row_index")})
    try:
        near = read_range(result_path(directory, result_id), place, _ANSWER)
    except FileNotFoundError:
        return None
    here = (pl.col("segment") == request["segment"]) & (pl.col("row_index") == request["row_index"])
    found = near.filter(here)
    if not found.height:
        return None
    row = found.row(0, named=True)
    line = delivered_line(row["line"], row["id_start"], row["id_end"], row["custom_id"])
    known = {field: row[field] for field in Answer.__slots__ if field in row}
    return Answer(**known | {"result_id": result_id, "line": line})


def answers_of(
    directory: DataDirectory, request: Mapping[str, Any], result_ids: Iterable[int]
) -> list[Answer]:
    """Return what those of the result files have for the request that have something."""
    found = (answer_of(directory, request, result_id) for result_id in result_ids)
    return [answer for answer in found if answer is not None]
