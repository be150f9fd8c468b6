"""Lines that were accepted once and are no requests any more, by what can still be told of them.

An earlier version may have accepted what this one refuses. Whoever was told that his request is
accepted gets a result, so such a line becomes a request that fails: it is never sent.
"""

import json
import re
from typing import Any, Final

from xxhash import xxh3_64_intdigest

from batching.destinations import canonical_json, parse_destination
from batching.endpoints import ENDPOINTS
from batching.errors import BadInput
from batching.requests import ReadRequest

NEVER_SENT_BYTES: Final = 0
"""The `wire_bytes` of a request that cannot be sent: no real one is so short."""
_UNKNOWN: Final = "unknown"
_CUSTOM_ID: Final = re.compile(rb'"custom_id"[ \t\r]*:[ \t\r]*("(?:[^"\\]|\\.)*")')
_MOST_DIGITS: Final = 300


def outdated_request(line: bytes) -> ReadRequest | None:
    """Return an accepted line as a request that is never sent; None if it names no custom_id.

    Its body is the whole line, so that nothing of it is lost.
    """
    told = _told_by(line)
    custom_id = _text(told.get("custom_id")) or _searched_id(line)
    if custom_id is None:
        return None
    url = _text(told.get("url"))
    body = told.get("body")
    model = _text(body.get("model")) if isinstance(body, dict) else None
    return ReadRequest(
        custom_id=custom_id,
        url=url if url is not None and url in ENDPOINTS else _UNKNOWN,
        model=model or _UNKNOWN,
        body=line,
        delivery_config=_destination(told.get("delivery_config")),
        wire_bytes=NEVER_SENT_BYTES,
        tokens=0,
        output_tokens=0,
        embedding_inputs=0,
        id_hash=xxh3_64_intdigest(custom_id.encode()),
        payload_hash=xxh3_64_intdigest(line),
    )


def _told_by(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line.decode("utf-8", "replace"), strict=False, parse_int=_number)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _searched_id(line: bytes) -> str | None:
    found = _CUSTOM_ID.search(line)
    if found is None:
        return None
    try:
        return _text(json.loads(found[1].decode("utf-8", "replace"), strict=False))
    except ValueError:
        return None


def _text(value: object) -> str | None:
    """Return a text that says something, as a file can hold it."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        return None
    return value.encode("utf-8", "replace").decode()


def _destination(config: object) -> str | None:
    if config is None:
        return None
    try:
        return canonical_json(parse_destination(json.dumps(config)))
    except (BadInput, ValueError, RecursionError):
        return None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)
