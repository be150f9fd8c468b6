"""What is sent to a webhook: bodies and headers, of one result or of many."""

import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import quote

from batching.deliveries import Message
from batching.errors import ConfigurationError

Headers = list[tuple[str, str]]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?")
_OURS: Final = frozenset(
    {
        "connection", "content-encoding", "content-length", "expect", "host", "idempotency-key",
        "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


def single_headers(message: Message) -> Headers:
    """Return the headers of a POST that carries this result alone."""
    return [
        ("content-type", "application/json"),
        ("idempotency-key", message.key),
        ("x-batcher-request-id", message.request_id),
        ("x-batcher-custom-id", header_text(message.custom_id)),
    ]


def batch_headers(messages: Sequence[Message], *, compressed: bool) -> Headers:
    """Return the headers of a POST that carries all these results."""
    encoding = [("content-encoding", "gzip")] if compressed else []
    return [
        ("content-type", "application/x-ndjson"),
        ("idempotency-key", batch_key(messages)),
        *encoding,
    ]


def batch_body(messages: Sequence[Message], *, compressed: bool) -> bytes:
    """Return one line for each result: its key as `id`, and the result itself."""
    body = b"".join(
        b'{"id":%b,"result":%b}\n' % (json.dumps(message.key).encode(), message.payload)
        for message in messages
    )
    # Without a time in it, the same results make the same bytes.
    return gzip.compress(body, compresslevel=1, mtime=0) if compressed else body


def batch_key(messages: Sequence[Message]) -> str:
    """Return the idempotency key of a POST: the same whenever it carries the same results."""
    keys = "\n".join(sorted(message.key for message in messages))
    return "obm-post-" + hashlib.sha256(keys.encode()).hexdigest()[:40]


def header_text(text: str) -> str:
    """Return the text for a header: as it is if printable ASCII, or else percent-encoded."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe="", errors="replace")


def own_headers(given: Sequence[tuple[str, str]]) -> Headers:
    """Return the headers that go with every POST; ConfigurationError names unusable ones."""
    if faulty := [name for name, value in given if not _is_usable(name, value)]:
        raise ConfigurationError(
            f"these headers of a webhook cannot be set: {', '.join(map(repr, faulty))}. "
            "Names are plain words, values hold no line breaks, and host, content-length, "
            "webhook-* and the like are made here."
        )
    names = {name.lower() for name, _ in given}
    standing = [("user-agent", _user_agent()), ("accept", "*/*"), ("accept-encoding", "identity")]
    return [each for each in standing if each[0] not in names] + list(given)


def _is_usable(name: str, value: str) -> bool:
    lower = name.lower()
    if not _TOKEN.fullmatch(name) or lower in _OURS or lower.startswith("webhook-"):
        return False
    return value.isprintable()


def _user_agent() -> str:
    try:
        return f"openai-batch-manager/{version('openai-batch-manager')}"
    except PackageNotFoundError:
        return "openai-batch-manager"
