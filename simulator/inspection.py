"""The check of a whole input file, done before any line of it runs."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from simulator import limits
from simulator.records import BatchError
from simulator.request_lines import (
    BODIES,
    CHARACTERS_A_TOKEN,
    count_inputs,
    count_tokens,
    line_decoder,
    texts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.request_lines import Body

SHOWN_ERRORS = 100
READ_BUFFER_BYTES = 1 << 20


@dataclass(kw_only=True)
class Inspection:
    """What an input file holds, and why it cannot run if it cannot."""

    model: str | None = None
    tokens: int = 0
    embedding_inputs: int = 0
    errors: list[BatchError] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("L"))


class _Loose(msgspec.Struct):
    """A line of which nothing is certain but that it is an object."""

    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class _LooseBody(msgspec.Struct):
    """A body of which only the model and the stream flag matter."""

    model: Any = None
    stream: Any = None


_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_loose_body = msgspec.json.Decoder(_LooseBody).decode


def inspect_file(path: Path, endpoint: str) -> Inspection:
    """Return what a file holds and every reason why it may not run as a batch."""
    inspection = Inspection()
    if path.stat().st_size > limits.MAX_BATCH_FILE_BYTES:
        message = "The batch input file is larger than the limit of 200 MB."
        inspection.errors.append(BatchError(code="file_too_large", message=message))
        return inspection
    _FileInspector(inspection, endpoint).read(path)
    inspection.errors[:0] = _file_errors(inspection)
    del inspection.errors[SHOWN_ERRORS:]
    return inspection


def first_model(path: Path) -> str | None:
    """Return the model that the first line of a file asks for, if it is readable."""
    try:
        with path.open("rb") as file:
            line = _decode_loose(file.readline())
        model = _decode_loose_body(line.body).model
    except (OSError, msgspec.DecodeError):
        return None
    return model if isinstance(model, str) else None


def _file_errors(inspection: Inspection) -> list[BatchError]:
    lines = len(inspection.offsets)
    if not lines:
        message = "The batch input file is empty. Please make sure that it holds requests."
        return [BatchError(code="empty_file", message=message)]
    if lines > limits.MAX_REQUESTS:
        what = f"{lines} requests, more than the limit of {limits.MAX_REQUESTS}"
    elif inspection.embedding_inputs > limits.MAX_EMBEDDING_INPUTS:
        inputs = inspection.embedding_inputs
        what = f"{inputs} embedding inputs, more than the limit of {limits.MAX_EMBEDDING_INPUTS}"
    else:
        return []
    return [BatchError(code="too_many_tasks", message=f"The batch input file holds {what}.")]


class _FileInspector:
    def __init__(self, inspection: Inspection, endpoint: str) -> None:
        self._inspection = inspection
        self._endpoint = endpoint
        self._decode = line_decoder(BODIES[endpoint])
        self._counts_inputs = endpoint == "/v1/embeddings"
        self._seen: set[str] = set()

    def read(self, path: Path) -> None:
        inspection, offset = self._inspection, 0
        with path.open("rb", buffering=READ_BUFFER_BYTES) as file:
            for number, line in enumerate(file, 1):
                size = len(line)
                if not line.isspace():
                    inspection.offsets.append(offset)
                    inspection.lengths.append(size)
                    inspection.numbers.append(number)
                    self._look_at(line, number)
                offset += size

    def _look_at(self, line: bytes, number: int) -> None:
        try:
            request = self._decode(line)
        except (msgspec.DecodeError, RecursionError):
            self._look_closer(line, number)
            return
        self._check_id(request.custom_id, number)
        self._check_route(request.method, request.url, number)
        self._check_body(request.body.model, request.body.stream, number)
        self._count(request.body)

    def _check_id(self, custom_id: str, number: int) -> None:
        if custom_id in self._seen:
            message = (
                "The custom_id for this request is a duplicate of another request. The custom_id "
                "parameter must be unique for each request in a batch."
            )
            self._refuse("duplicate_custom_id", message, number, "custom_id")
        self._seen.add(custom_id)

    def _check_route(self, method: object, url: object, number: int) -> None:
        if method != "POST":
            self._refuse("invalid_method", "The method must be POST.", number, "method")
        if url != self._endpoint:
            message = f"The URL provided for this request does not match {self._endpoint}."
            self._refuse("url_mismatch", message, number, "url")

    def _check_body(self, model: object, stream: object, number: int) -> None:
        inspection = self._inspection
        if not isinstance(model, str) or not model:
            message = "Missing required parameter: 'body.model'."
            self._refuse("missing_required_parameter", message, number, "body.model")
        elif inspection.model is None:
            inspection.model = model
        elif model != inspection.model:
            message = f"The model {model} does not match {inspection.model}, the batch's model."
            self._refuse("model_mismatch", message, number, "body.model")
        if stream:
            message = "Streaming is not supported in a batch."
            self._refuse("unsupported_value", message, number, "body.stream")

    def _count(self, body: Body) -> None:
        self._inspection.tokens += count_tokens(texts(body))
        if self._counts_inputs:
            self._inspection.embedding_inputs += count_inputs(body)

    def _look_closer(self, line: bytes, number: int) -> None:
        """Find out whether the line or only the wish in its body is unusable."""
        try:
            request = _decode_loose(line)
            body = _decode_loose_body(request.body)
        except msgspec.ValidationError:
            message = "A line must be an object whose body is an object."
            self._refuse("invalid_type", message, number, "body")
            return
        except (msgspec.DecodeError, RecursionError):
            message = "This line is not parseable as valid JSON."
            self._refuse("invalid_json_line", message, number, None)
            return
        if isinstance(request.custom_id, str):
            self._check_id(request.custom_id, number)
        else:
            message = "Missing required parameter: 'custom_id'."
            self._refuse("missing_required_parameter", message, number, "custom_id")
        self._check_route(request.method, request.url, number)
        self._check_body(body.model, body.stream, number)
        self._inspection.tokens += len(line) // CHARACTERS_A_TOKEN

    def _refuse(self, code: str, message: str, number: int, param: str | None) -> None:
        if len(self._inspection.errors) < SHOWN_ERRORS:
            error = BatchError(code=code, message=message, line=number, param=param)
            self._inspection.errors.append(error)
