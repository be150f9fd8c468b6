"""What is published, and its properties as AMQP writes them."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import pika

APP_ID = "openai-batch-manager"
LONGEST_NAME_BYTES = 255
"""AMQP's short strings: exchanges, routing keys, message ids."""
LONGEST_PROPERTIES_BYTES = 100_000
"""They must fit in one frame, which is 128 KiB on every broker that is left as it is."""

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 1 << 15, 1 << 14, 1 << 13
_DELIVERY_MODE, _MESSAGE_ID, _APP_ID = 1 << 12, 1 << 7, 1 << 3
_FLAGS = _CONTENT_TYPE | _CONTENT_ENCODING | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _APP_ID
_PERSISTENT = b"\x02"
_LENGTH: Callable[[int], bytes] = struct.Struct(">I").pack


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """One message: a result, or several of them as NDJSON."""

    key: str
    """The idempotency key, which becomes the message id."""
    body: bytes
    request_id: str
    custom_id: str | None = None
    """None for a bundle of several results."""
    content_type: str = "application/json"


class Properties:
    """The properties of one message, for pika's `basic_publish`.

    They are the same for all messages but for three strings. pika would build and take apart
    a table for each message, which costs more than everything else that publishing takes.
    """

    __slots__ = ("_pieces",)
    INDEX = pika.BasicProperties.INDEX

    def __init__(self, message: Outgoing) -> None:
        key = _short(message.key)
        beginning, end = _always(message.content_type)
        headers = _headers(message, key[1:])
        if len(headers) > LONGEST_PROPERTIES_BYTES:
            raise ValueError(f"its ids are longer than {LONGEST_PROPERTIES_BYTES} bytes")
        self._pieces = [beginning, _LENGTH(len(headers)), headers, _PERSISTENT, key, end]

    def encode(self) -> list[bytes]:
        """Return the pieces that follow the length of the body in the header frame."""
        return self._pieces


def is_a_name(name: str) -> bool:
    """Return whether an exchange or a queue can have this name at all."""
    return len(name.encode()) <= LONGEST_NAME_BYTES


def _headers(message: Outgoing, key: bytes) -> bytes:
    request_id = message.request_id.encode()
    pieces = [
        b"\x14x-batcher-request-idS", _LENGTH(len(request_id)), request_id,
        b"\x0fidempotency-keyS", _LENGTH(len(key)), key,
    ]  # fmt: skip
    if message.custom_id is not None:
        custom_id = message.custom_id.encode(errors="replace")
        pieces += (b"\x13x-batcher-custom-idS", _LENGTH(len(custom_id)), custom_id)
    return b"".join(pieces)


@lru_cache(maxsize=16)
def _always(content_type: str) -> tuple[bytes, bytes]:
    beginning = struct.pack(">H", _FLAGS) + _short(content_type) + _short("utf-8")
    return beginning, _short(APP_ID)


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > LONGEST_NAME_BYTES:
        raise ValueError(f"{text[:60]!r}… is longer than {LONGEST_NAME_BYTES} bytes")
    return bytes((len(encoded),)) + encoded
