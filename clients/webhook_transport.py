"""HTTP/1.1 to checked addresses only: a transport for httpx that spends little time on a POST.

httpx's own transport takes about four times as much processor time for a POST, and it connects
to whatever a name happens to mean at that moment.
"""

import asyncio
import os
import ssl
import zlib
from functools import cache
from typing import Final

import httpx

from clients.addresses import AddressGuard
from clients.webhook_answers import Answer, Unanswered
from clients.webhook_connections import Connection

ANSWER_BYTES: Final = "answer_bytes"
"""The request's extension that says how much of the answer's body is wanted."""
IS_CUT: Final = "is_cut"
"""The response's extension that says whether there was more of it."""

_PORTS: Final = {"http": 80, "https": 443}
_MOST_ANSWER_BYTES = 4_096
_LONGEST_LIFE_SECONDS = 300.0
_PATIENCE_SECONDS = 20.0
_ANY_ZLIB_HEADER = 47
_Origin = tuple[str, str, int]


@cache
def shared_tls() -> ssl.SSLContext:
    """Return the one TLS context of the process: making one takes as long as many POSTs."""
    return httpx.create_ssl_context()


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests over kept-alive connections, opened only to what the guard lets through."""

    def __init__(self, guard: AddressGuard, *, most_idle: int) -> None:
        self._guard = guard
        self._most_idle = most_idle
        self._idle: list[tuple[_Origin, Connection]] = []
        self._open_ones: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response with its body, as far as that is wanted; raise httpx's errors.

        AddressNotAllowed: the guard refuses the host.
        """
        origin = _origin(request)
        if (kept := self._take(origin)) is not None:
            try:
                return await self._exchange(kept, origin, request)
            except Unanswered as error:
                # The receiver may have closed it while nobody used it: one more try is fair.
                if error.began:
                    raise httpx.ReadError(str(error), request=request) from error
        fresh = await self._connect(origin, request)
        try:
            return await self._exchange(fresh, origin, request)
        except Unanswered as error:
            raise httpx.ReadError(str(error), request=request) from error

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        still_open = list(self._open_ones)
        self._idle.clear()
        for connection in still_open:
            connection.abort()
        await asyncio.gather(*(connection.closed for connection in still_open))

    async def _exchange(
        self, connection: Connection, origin: _Origin, request: httpx.Request
    ) -> httpx.Response:
        most_bytes = request.extensions.get(ANSWER_BYTES, _MOST_ANSWER_BYTES)
        try:
            answer = await connection.exchange(
                _wire_bytes(request),
                most_bytes=most_bytes,
                silence_seconds=_timeout(request, "read"),
            )
        except TimeoutError as error:
            raise httpx.ReadTimeout("the other side fell silent", request=request) from error
        self._put_back(origin, connection)
        return _response(answer, request, most_bytes)

    def _take(self, origin: _Origin) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - _LONGEST_LIFE_SECONDS
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] != origin:
                continue
            _, connection = self._idle.pop(index)
            # A new connection looks the name up again, so an old one must end some time.
            if connection.is_usable and connection.opened_at > oldest:
                return connection
            connection.abort()
        return None

    def _put_back(self, origin: _Origin, connection: Connection) -> None:
        if not connection.is_usable:
            return
        if len(self._idle) >= self._most_idle:
            self._idle.pop(0)[1].abort()
        self._idle.append((origin, connection))

    async def _connect(self, origin: _Origin, request: httpx.Request) -> Connection:
        _, host, port = origin
        seconds = _timeout(request, "connect")
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._guard.check(host, port)
                connection = await _connect_to_one(
                    addresses, origin, seconds_each=seconds / max(len(addresses), 1)
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection came about", request=request) from error
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(_reason(error), request=request) from error
        self._open_ones.add(connection)
        connection.closed.add_done_callback(lambda _: self._open_ones.discard(connection))
        return connection


async def _connect_to_one(
    addresses: list[str], origin: _Origin, *, seconds_each: float
) -> Connection:
    """Connect to the first address that answers; the name is only for TLS to verify."""
    scheme, host, port = origin
    tls = shared_tls() if scheme == "https" else None
    failure = OSError("the name has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(seconds_each):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, address, port, ssl=tls, server_hostname=host if tls else None
                )
                return connection
        except OSError as error:
            failure = error
    raise failure


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, UnicodeError):
        return "its name is none that could be looked up"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or "it hung up while it was called"


def _origin(request: httpx.Request) -> _Origin:
    url = request.url
    if url.scheme not in _PORTS or not url.host:
        raise httpx.UnsupportedProtocol("only http:// and https:// can be called", request=request)
    return url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]


def _wire_bytes(request: httpx.Request) -> bytes:
    lines = [request.method.encode("ascii"), b" ", request.url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in request.headers.raw:
        lines += (name, b": ", value, b"\r\n")
    lines += (b"\r\n", request.content)
    return b"".join(lines)


def _timeout(request: httpx.Request, phase: str) -> float:
    seconds = request.extensions.get("timeout", {}).get(phase)
    return _PATIENCE_SECONDS if seconds is None else float(seconds)


def _response(answer: Answer, request: httpx.Request, most_bytes: int) -> httpx.Response:
    headers = [each for each in answer.headers if each[0] != b"content-encoding"]
    content = answer.content
    if len(headers) != len(answer.headers):
        content = _decoded(content, most_bytes)
    return httpx.Response(
        answer.status,
        headers=headers,
        content=content,
        request=request,
        extensions={IS_CUT: answer.is_cut},
    )


def _decoded(content: bytes, most_bytes: int) -> bytes:
    """Return what a compressed answer says, though none was asked for; b"" if unreadable."""
    try:
        return zlib.decompressobj(_ANY_ZLIB_HEADER).decompress(content, most_bytes)
    except zlib.error:
        return b""
