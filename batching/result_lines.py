"""One line of an output or error file: what it says, and what follows from it.

The lines of most endpoints are read by a typed decoder that skips what is not asked for (the
floats of an embedding). Lines that it refuses (`1e400`, lone surrogates, odd types) are read
again by the standard library before they count as odd.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Self, TypeVar

import msgspec

from batching.outcomes import Answer
from batching.provider import (
    TokenUsage,
    UsageFields,
    read_count,
    read_fault,
    read_usage_fields,
    usage_of,
)
from batching.refusals import ACCOUNT_CODES, PASSING_CODES

BATCH_EXPIRED = "batch_expired"
BATCH_CANCELLED = "batch_cancelled"
NOT_RUN_CODES = frozenset({BATCH_EXPIRED, BATCH_CANCELLED, "request_timeout"})

_PASSING_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_ID_KEY = b'"custom_id"'
_SEPARATOR = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_MARK_OR_SPACE = re.compile(r"[ \t\r\n,:]*")
_EXACT_DIGITS = 300  # more digits are no count, and from 4,300 on `int` refuses them


class ResultLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one line says; `line[id_start:id_end]` is its custom_id, quotes included."""

    custom_id: str
    id_start: int
    id_end: int
    status_code: int | None = None
    request_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage: TokenUsage | None = None
    finish_reason: str | None = None
    content: str | None = None
    model: str | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether it was not executed because its batch was cancelled."""
        return self.status_code is None and self.error_code == BATCH_CANCELLED


class OddLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line that cannot be read as a result, and why."""

    reason: str


class OwnCode(StrEnum):
    """Codes of the results for which no line of the provider exists, with a sentence each."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        """Return the code as a string that carries its sentence."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    DUPLICATE_CUSTOM_ID = (
        "obm_duplicate_custom_id",
        (
            "Another request of the same job already has this custom_id with a different payload; "
            "this one was not sent."
        ),
    )
    NO_LONGER_VALID = (
        "obm_no_longer_valid",
        (
            "The request was accepted by an earlier version and is none for the one that runs now, "
            "so it was not sent: send it again, corrected and under another custom_id."
        ),
    )
    RESULTS_UNAVAILABLE = (
        "obm_results_unavailable",
        (
            "The batch ended, but the provider's result files stayed unreadable; the request may "
            "have run and been paid, so it is not sent again by itself."
        ),
    )
    RESULTS_MISSING = (
        "obm_results_missing",
        "The provider's result files hold no line for this request, at its last attempt too.",
    )
    RETURNS_EXHAUSTED = (
        "obm_returns_exhausted",
        "The provider sent this request back without running it more often than is allowed.",
    )
    CANCELLED = ("obm_cancelled", "The request was cancelled before it ran.")
    REQUEST_EXCEEDS_TOKEN_LIMIT = (
        "obm_request_exceeds_token_limit",
        "This request alone needs more tokens than the provider lets be enqueued for its model.",
    )
    BATCH_REFUSED = (
        "obm_batch_refused",
        "The provider refused the batch that held this request.",
    )
    BATCH_CANCELLED_OUTSIDE = (
        "obm_batch_cancelled_outside",
        (
            "The batch was cancelled at the provider, not by this installation, before this "
            "request ran; it is not sent again by itself."
        ),
    )
    BATCH_LOST = (
        "obm_batch_lost",
        (
            "The provider does not know the batch that held this request any more; the request may "
            "have run and been paid, so it is not sent again by itself."
        ),
    )


ENDED_AT_INTAKE = (OwnCode.DUPLICATE_CUSTOM_ID.value, OwnCode.NO_LONGER_VALID.value)
"""Codes of requests that failed when they were taken in; there is nothing to send again."""


def read_result_line(line: bytes) -> ResultLine | OddLine:
    """Return what a line says, or why it cannot be read."""
    try:
        wire = _DECODER.decode(line)
        if not line.isascii():
            line.decode()  # the decoder does not look into what it skips
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_slowly(line)
    return _result(line, wire)


def outcome_of(line: ResultLine, *, batch_status: str) -> Answer:
    """Return what the line means for its request, given how its batch ended."""
    status = line.status_code
    if status is None:
        return _outcome_without_status(line.error_code, batch_status)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer.SUCCEEDED
    if line.error_code in ACCOUNT_CODES:
        # Nothing ran and nothing was paid: the account is out of credit or closed.
        return Answer.ACCOUNT
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Expired batches are known to name a server error for requests that never ran.
        return Answer.NOT_RUN if batch_status == "expired" else Answer.MAY_PASS
    return Answer.MAY_PASS if status in _PASSING_STATUSES else Answer.FAILED


def own_result_line(custom_id: str, code: OwnCode, detail: str | None = None) -> bytes:
    """Return the line, without newline, for a request that has none of the provider."""
    message = f"{code.sentence} {detail}" if detail else code.sentence
    return msgspec.json.encode(
        {
            "id": None,
            "custom_id": custom_id,
            "response": None,
            "error": {"code": code.value, "message": message},
        }
    )


class _Fault(msgspec.Struct, gc=False):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    message: _Message | None = None
    text: str | None = None


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Part] | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    usage: UsageFields | None = None
    choices: list[_Choice] | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    output: list[_Item] | None = None
    error: _Fault | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int | None = None
    request_id: str | None = None
    body: _Body | None = None


class _WireLine(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response | None = None
    error: _Fault | None = None


_Shape = TypeVar("_Shape", bound=msgspec.Struct)

_DECODER = msgspec.json.Decoder(_WireLine)
_NO_RESPONSE = _Response()
_NO_BODY = _Body()


def _result(line: bytes, wire: _WireLine) -> ResultLine | OddLine:
    span = _id_span(line, wire.custom_id)
    if span is None:
        return OddLine(reason="its custom_id is not found in the raw line")
    response = wire.response or _NO_RESPONSE
    body = response.body or _NO_BODY
    fault = wire.error or body.error
    usage = body.usage
    status = response.status_code
    return ResultLine(
        custom_id=wire.custom_id,
        id_start=span[0],
        id_end=span[1],
        status_code=status if status is not None and status >= HTTPStatus.CONTINUE else None,
        request_id=response.request_id,
        error_code=_code(fault) if fault else None,
        error_message=fault.message if fault else None,
        usage=usage_of(usage) if usage else None,
        finish_reason=_finish_reason(body),
        content=_content(body),
        model=body.model,
    )


def _code(fault: _Fault) -> str | None:
    code = fault.type if fault.code is None else fault.code
    return None if code is None else str(code)


def _finish_reason(body: _Body) -> str | None:
    if body.choices:
        return body.choices[0].finish_reason
    if body.incomplete_details and body.incomplete_details.reason:
        return body.incomplete_details.reason
    return body.status


def _content(body: _Body) -> str | None:
    if body.choices:
        choice = body.choices[0]
        return choice.message.content if choice.message else choice.text
    if body.output is None:
        return None
    texts = [
        part.text
        for item in body.output
        for part in item.content or ()
        if part.type == "output_text" and part.text is not None
    ]
    return "".join(texts) if texts else None


def _outcome_without_status(code: str | None, batch_status: str) -> Answer:
    if code in ACCOUNT_CODES:
        return Answer.ACCOUNT
    if code in NOT_RUN_CODES or batch_status == "expired":
        return Answer.NOT_RUN
    if code is not None and code not in PASSING_CODES:
        return Answer.FAILED
    return Answer.NOT_RUN if batch_status == "cancelled" else Answer.MAY_PASS


def _id_span(line: bytes, custom_id: str) -> tuple[int, int] | None:
    key = line.find(_ID_KEY)
    if key >= 0 and line.find(_ID_KEY, key + len(_ID_KEY)) < 0:
        separator = _SEPARATOR.match(line, key + len(_ID_KEY))
        quoted = b'"%b"' % custom_id.encode("utf-8", "surrogatepass")
        if separator and line.startswith(quoted, separator.end()):
            return separator.end(), separator.end() + len(quoted)
    return _walk_to_id(line)


def _walk_to_id(line: bytes) -> tuple[int, int] | None:
    """Return where the custom_id of the outermost object stands, whatever lies before it."""
    text = line.decode("latin-1")  # one character a byte, so that positions are byte positions
    position = text.find("{") + 1
    span = None
    while (position := _skip_marks(text, position)) < len(text) and text[position] == '"':
        key, position = _SCANNER.raw_decode(text, position)
        start = _skip_marks(text, position)
        try:
            _, position = _SCANNER.raw_decode(text, start)
        except RecursionError:  # some levels less fit here than into the decoder
            return None
        if key == "custom_id":
            span = start, position  # the last one counts, as for every JSON reader
    return span


def _skip_marks(text: str, position: int) -> int:
    match = _MARK_OR_SPACE.match(text, position)
    return match.end() if match else position


def _read_slowly(line: bytes) -> ResultLine | OddLine:
    try:
        raw = _encodable(json.loads(line.decode("utf-8-sig"), parse_int=_whole_number), line)
    except UnicodeDecodeError:
        return OddLine(reason="it is not UTF-8")
    except (ValueError, RecursionError) as error:
        return OddLine(reason=f"it is not JSON: {type(error).__name__}: {error}")
    if not isinstance(raw, dict):
        return OddLine(reason="it is not a JSON object")
    if not isinstance(raw.get("custom_id"), str):
        return OddLine(reason="it has no custom_id")
    return _result(line, _loose_line(raw))


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < _EXACT_DIGITS else float(digits)


_SCANNER = json.JSONDecoder(parse_int=_whole_number)


def _loose_line(raw: Mapping[str, Any]) -> _WireLine:
    line = _loosely(_WireLine, raw)
    response = raw.get("response")
    if line.response is None and isinstance(response, dict):
        line.response = _loose_response(response)
    if line.error is None:
        line.error = _loose_fault(raw.get("error"))
    return line


def _loose_response(raw: Mapping[str, Any]) -> _Response:
    response = _loosely(_Response, raw)
    status, body = raw.get("status_code"), raw.get("body")
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = _whole_number(status)
    response.status_code = read_count(status)
    if response.body is None and isinstance(body, dict):
        response.body = _loosely(_Body, body)
        response.body.usage = read_usage_fields(body.get("usage"))
        response.body.error = _loose_fault(body.get("error"))
    elif response.body is None:
        response.body = _Body(error=_loose_fault(body))
    return response


def _loose_fault(raw: object) -> _Fault | None:
    fault = read_fault(raw)
    return _Fault(code=fault.code, message=fault.message) if fault else None


def _loosely(kind: type[_Shape], raw: Mapping[str, Any]) -> _Shape:
    """Return what of the object has the expected types; the rest is left out."""
    fitting = {}
    for field in msgspec.structs.fields(kind):
        with contextlib.suppress(msgspec.ValidationError):
            fitting[field.name] = msgspec.convert(raw.get(field.name), field.type)
    return kind(**fitting)


def _encodable(raw: Any, line: bytes) -> Any:
    """Return what was read with its lone surrogates, which no file can hold, replaced."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return raw
    return json.loads(json.dumps(raw, ensure_ascii=False).encode("utf-8", "replace"))
