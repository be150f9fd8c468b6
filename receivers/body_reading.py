"""Reading what a client sends: bounded, with patience that ends, unpacked on the way."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from batching.errors import BadInput
from receivers.answers import ApiError, api_error, send_error
from receivers.unpacking import Plain, Unpacking, unpacking_of

_MOST_DRAINED_BYTES: Final = 64_000_000
_DRAIN_SECONDS: Final = 2.0
_LEAST_BYTES_A_SECOND: Final = 500
"""Who sends less, for longer than a pause may last, would hold his place for ever."""


class Room:
    """How much of bodies that come piece by piece is held in memory, all connections together."""

    def __init__(self, most_bytes: int) -> None:
        self._free_bytes = most_bytes

    def take(self, size: int) -> None:
        """Hold so many bytes more; ApiError if there is no room for them."""
        if size > self._free_bytes:
            raise api_error(
                503,
                "too_busy",
                "Service Unavailable",
                "too many large requests are coming in at once: try again in a moment",
                Retry_After="2",
            )
        self._free_bytes -= size

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self._free_bytes += size


class Pace:
    """How quickly a body comes, from now on; patient at first."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._began = time.monotonic()

    def demand(self, size: int) -> None:
        """Raise the answer to a body of which no more has come in all this time."""
        seconds = time.monotonic() - self._began
        if seconds > self._patience_seconds and size < seconds * _LEAST_BYTES_A_SECOND:
            raise _too_slow(f"only {size:,} bytes of the body came in {seconds:.0f} seconds")


class ClientGone(Exception):
    """The client has closed its connection: there is nobody to answer."""


async def read_body(
    scope: Scope, receive: Receive, *, room: Room, largest_bytes: int, timeout_seconds: float
) -> bytes:
    """Return the whole body, unpacked; ApiError says why it is not taken."""
    length, unpacking = body_headers(scope)
    refuse_larger(length, largest_bytes)
    body, has_more = await next_piece(receive, timeout_seconds)
    if has_more:
        whole, pace = bytearray(body), Pace(timeout_seconds)
        try:
            while has_more:
                pace.demand(len(whole))
                piece, has_more = await next_piece(receive, timeout_seconds)
                room.take(len(piece))
                whole += piece
                refuse_larger(len(whole), largest_bytes)
        finally:
            room.give_back(len(whole) - len(body))
        body = bytes(whole)
    refuse_larger(len(body), largest_bytes)
    return body if isinstance(unpacking, Plain) else _unpacked(body, unpacking, largest_bytes)


async def next_piece(receive: Receive, timeout_seconds: float) -> tuple[bytes, bool]:
    """Return the next part of the body and whether there is more of it."""
    try:
        async with asyncio.timeout(timeout_seconds):
            message = await receive()
    except TimeoutError:
        raise _too_slow(f"nothing more of the body came for {timeout_seconds:g} seconds") from None
    if message["type"] != "http.request":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


def _too_slow(detail: str) -> ApiError:
    return api_error(408, "request_timeout", "Request Timeout", detail)


def body_headers(scope: Scope) -> tuple[int, Unpacking]:
    """Return the announced length (0 if there is none) and how to unpack the body."""
    length, encoding = 0, b""
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-encoding":
            encoding = value
    unpacking = unpacking_of(encoding)
    if unpacking is None:
        raise api_error(
            415,
            "unsupported_encoding",
            "Unsupported Media Type",
            "Content-Encoding may be gzip, zstd or identity",
            Accept_Encoding="gzip, zstd, identity",
        )
    return length, unpacking


def refuse_larger(size: int, largest_bytes: int) -> None:
    """Raise the answer to a body that is too large."""
    if size > largest_bytes:
        raise api_error(
            413,
            "payload_too_large",
            "Payload Too Large",
            f"the body may have {largest_bytes:,} bytes at most",
        )


def invalid_content(error: BadInput) -> ApiError:
    """Return the answer to a body that cannot be unpacked."""
    return api_error(400, "invalid_encoding", "Bad Request", str(error))


async def send_error_early(receive: Receive, send: Send, error: ApiError) -> None:
    """Answer while the body may still be coming, then end the connection.

    A client that only reads after it has sent everything would find its connection reset, and
    the answer lost: what it still sends is thrown away for a moment.
    """

    async def send_but_stay(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["more_body"] = True
        await send(message)

    await send_error(send_but_stay, error, (b"connection", b"close"))
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            drained, is_open = 0, True
            while is_open and drained < _MOST_DRAINED_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                is_open = message["type"] == "http.request" and message.get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _unpacked(body: bytes, unpacking: Unpacking, largest_bytes: int) -> bytes:
    pieces, size = [], 0
    try:
        for piece in unpacking.feed(body):
            pieces.append(piece)
            size += len(piece)
            refuse_larger(size, largest_bytes)
        unpacking.finish()
    except BadInput as error:
        raise invalid_content(error) from None
    return b"".join(pieces)
