"""Everything that can be wrong with a request line, found with care instead of speed."""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

from batching.endpoints import ENDPOINTS, missing_input

LONGEST_CUSTOM_ID: Final = 512
"""Characters; the bound that keeps ids usable as names and in messages."""
_ALLOWED_KEYS: Final = ("custom_id", "method", "url", "body", "delivery_config")
_LONGEST_QUOTE: Final = 80
_MOST_DIGITS: Final = 4_000
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_HIGH_SURROGATES: Final = range(0xD800, 0xDC00)
_LOW_SURROGATES: Final = range(0xDC00, 0xE000)


class RefusalCode(StrEnum):
    """Why a line is not accepted; scripts may rely on these words."""

    INVALID_UTF8 = "invalid_utf8"
    LONE_SURROGATE = "lone_surrogate"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_KEY = "unknown_key"
    INVALID_CUSTOM_ID = "invalid_custom_id"
    DUPLICATE_CUSTOM_ID = "duplicate_custom_id"
    """Given by ingestion, which knows the other requests of the job."""
    INVALID_METHOD = "invalid_method"
    INVALID_URL = "invalid_url"
    INVALID_BODY = "invalid_body"
    MISSING_MODEL = "missing_model"
    STREAM_NOT_ALLOWED = "stream_not_allowed"
    MISSING_INPUT = "missing_input"
    INVALID_DESTINATION = "invalid_destination"
    DESTINATION_NOT_AVAILABLE = "destination_not_available"
    """It needs a broker, or a name, that this installation does not have."""
    LINE_TOO_LARGE = "line_too_large"
    INVALID_ROW = "invalid_row"
    """A row of a table that does not fit its header."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a line was not accepted: a code for scripts, a reason for people."""

    code: RefusalCode
    reason: str


class Fault(Refusal, frozen=True, kw_only=True, gc=False):
    """One of the faults of a line, with its place."""

    pointer: str = ""
    """JSON pointer (RFC 6901) to what is wrong; "" is the whole line."""


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys stood twice."""

    repeated: tuple[str, ...] = ()


def find_fault(line: bytes) -> Refusal | None:
    """Return what is wrong with the line, all faults in one reason, or None."""
    return _joined(list_faults(line))


def list_faults(line: bytes) -> list[Fault]:
    """Return everything that is wrong with the line; what its destination says is not looked at."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
        return [Fault(code=RefusalCode.INVALID_UTF8, reason=reason)]
    if (place := _lone_surrogate(line)) is not None:
        reason = f"half of a surrogate pair at byte {place + 1}: it stands for no character"
        return [Fault(code=RefusalCode.LONE_SURROGATE, reason=reason)]
    value = _parsed(text)
    if isinstance(value, Fault):
        return [value]
    if not isinstance(value, _Object):
        reason = f"the line must be a JSON object, it is {_kind(value)}"
        return [Fault(code=RefusalCode.NOT_AN_OBJECT, reason=reason)]
    return list(_faults(value))


def has_repeated_key(text: bytes) -> bool:
    """Return whether a key stands twice in the JSON object, or it cannot be told."""
    value = _parsed(text.decode())
    return not isinstance(value, _Object) or bool(value.repeated)


def _joined(faults: list[Fault]) -> Refusal | None:
    if not faults:
        return None
    return Refusal(code=faults[0].code, reason="; ".join(fault.reason for fault in faults))


def _parsed(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_object_of,
            parse_constant=_refuse_constant,
            parse_int=_parse_integer,
        )
    except json.JSONDecodeError as error:
        return Fault(
            code=RefusalCode.NOT_JSON,
            reason=f"not JSON: {error.msg} at character {error.pos + 1}",
        )
    except RecursionError:
        return Fault(code=RefusalCode.NESTED_TOO_DEEPLY, reason="objects or arrays nest too deeply")
    except ValueError as error:
        return Fault(code=RefusalCode.NOT_JSON, reason=f"not JSON: {error}")


def _object_of(pairs: list[tuple[str, Any]]) -> _Object:
    value = _Object(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        value.repeated = tuple(name for name in value if names.count(name) > 1)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float("inf")


def _lone_surrogate(line: bytes) -> int | None:
    """Return where an escaped half of a surrogate pair stands alone."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return None
    high_at = high_end = -1
    for match in _ESCAPE.finditer(line):
        code = int(match[1], 16) if match[1] else 0
        if high_at >= 0:
            if code not in _LOW_SURROGATES or match.start() != high_end:
                return high_at
            high_at = -1
        elif code in _LOW_SURROGATES:
            return match.start()
        elif code in _HIGH_SURROGATES:
            high_at, high_end = match.start(), match.end()
    return high_at if high_at >= 0 else None


def _faults(envelope: _Object) -> Iterator[Fault]:
    for name in envelope.repeated:
        yield Fault(
            code=RefusalCode.DUPLICATE_KEY,
            reason=f"the key {_quoted(name)} stands twice",
            pointer=_pointer(name),
        )
    for name in envelope:
        if name not in _ALLOWED_KEYS:
            yield Fault(
                code=RefusalCode.UNKNOWN_KEY,
                reason=f"unknown key {_quoted(name)}; known are {', '.join(_ALLOWED_KEYS)}",
                pointer=_pointer(name),
            )
    yield from _custom_id_faults(envelope)
    yield from _target_faults(envelope)
    yield from _body_faults(envelope)


def _custom_id_faults(envelope: _Object) -> Iterator[Fault]:
    custom_id = envelope.get("custom_id")
    if "custom_id" not in envelope:
        reason = "`custom_id` is missing"
    elif not isinstance(custom_id, str):
        reason = f"`custom_id` must be a string, it is {_kind(custom_id)}"
    elif not custom_id:
        reason = "`custom_id` is empty"
    elif len(custom_id) > LONGEST_CUSTOM_ID:
        reason = f"`custom_id` has {len(custom_id)} characters, at most {LONGEST_CUSTOM_ID} fit"
    else:
        return
    yield Fault(code=RefusalCode.INVALID_CUSTOM_ID, reason=reason, pointer="/custom_id")


def _target_faults(envelope: _Object) -> Iterator[Fault]:
    method, url = envelope.get("method"), envelope.get("url")
    if method != "POST":
        given = f"`method` is {_quoted(method)}" if "method" in envelope else "`method` is missing"
        yield Fault(
            code=RefusalCode.INVALID_METHOD, reason=f'{given}; use "POST"', pointer="/method"
        )
    if "url" not in envelope:
        yield Fault(code=RefusalCode.INVALID_URL, reason="`url` is missing", pointer="/url")
    elif not isinstance(url, str) or url not in ENDPOINTS:
        yield Fault(
            code=RefusalCode.INVALID_URL,
            reason=f"`url` is {_quoted(url)}; batches know {', '.join(ENDPOINTS)}",
            pointer="/url",
        )


def _body_faults(envelope: _Object) -> Iterator[Fault]:
    body = envelope.get("body")
    if not isinstance(body, dict):
        given = (
            f"must be a JSON object, it is {_kind(body)}" if "body" in envelope else "is missing"
        )
        yield Fault(code=RefusalCode.INVALID_BODY, reason=f"`body` {given}", pointer="/body")
        return
    model = body.get("model")
    if not isinstance(model, str) or not model:
        given = "is empty" if model == "" else "is missing" if model is None else "is no string"
        yield Fault(
            code=RefusalCode.MISSING_MODEL,
            reason=f"`body.model` {given}",
            pointer="/body/model",
        )
    if body.get("stream"):
        yield Fault(
            code=RefusalCode.STREAM_NOT_ALLOWED,
            reason="`body.stream` is set, but a batch has no stream; leave it out",
            pointer="/body/stream",
        )
    url = envelope.get("url")
    endpoint = ENDPOINTS.get(url) if isinstance(url, str) else None
    if endpoint is not None and (reason := missing_input(endpoint, body)) is not None:
        yield Fault(code=RefusalCode.MISSING_INPUT, reason=reason, pointer="/body")


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _quoted(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _kind(value: object) -> str:
    kinds: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        str: "a string",
        list: "an array",
        _Object: "an object",
    }
    return kinds.get(type(value), "a number")
