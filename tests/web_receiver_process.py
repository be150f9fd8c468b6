"""The program that tests/web_receiver.py starts: raw HTTP/1.1 on one port, orders on another."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import socket
import ssl
import struct
import sys
import time
import zlib
from dataclasses import asdict
from typing import Any

import httptools
from web_receiver import Behaviour, Received

GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 31


class _State:
    """What the process knows: behaviours, and what came."""

    def __init__(self, *, light: bool) -> None:
        self.light = light
        self.clear()

    def clear(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.refuses = False
        self.requests = self.lines = 0
        self.records: list[Received] = []

    def set(self, prefix: str, how: Behaviour) -> None:
        self.behaviours[prefix] = how
        ordered = sorted(self.behaviours.items(), key=lambda item: -len(item[0]))
        self.behaviours = dict(ordered)
        self.refuses = any(each.reset == "connect" for each in self.behaviours.values())

    def behaviour_of(self, path: str) -> Behaviour:
        for prefix, how in self.behaviours.items():
            if path.startswith(prefix):
                self._use_up(prefix, how)
                return how
        return _PLAIN

    def _use_up(self, prefix: str, how: Behaviour) -> None:
        if how.times is None:
            return
        left = how.times - 1
        changed = {"times": left} if left else how.then or {}
        self.set(prefix, Behaviour(**(asdict(how) | changed if left else changed)))


_PLAIN = Behaviour()
_PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class _Connection(asyncio.Protocol):
    """One connection of the receiver."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._state.refuses:
            _tear_down(transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._path = b""
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._is_answered = False

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._state.light:
            self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._state.behaviours:
            path = self._path.decode()
            if any(path.startswith(each) and how.early for each, how in _items(self._state)):
                self._is_answered = True
                self._answer(self._state.behaviour_of(path))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._is_answered:
            return
        state, wire_body = self._state, b"".join(self._parts)
        body = _decompress(wire_body)
        how = state.behaviour_of(self._path.decode()) if state.behaviours else _PLAIN
        state.requests += 1
        state.lines += body.count(b"\n") + (not body.endswith(b"\n") and body != b"")
        if not state.light:
            self._record(how, body, wire_body)
        if how is _PLAIN:
            self._transport.write(_PLAIN_ANSWER)
        else:
            self._answer(how, body)

    def _record(self, how: Behaviour, body: bytes, wire_body: bytes) -> None:
        self._state.records.append(
            Received(
                path=self._path.decode(),
                headers=self._headers,
                body=body,
                at=time.time(),
                status=0 if how.silent or how.reset else how.status,
                connection=self._transport.get_extra_info("peername")[1],
                wire_body=wire_body,
            )
        )

    def _answer(self, how: Behaviour, body: bytes = b"") -> None:
        if how.silent:
            return
        loop = asyncio.get_running_loop()
        if how.delay_seconds:
            loop.call_later(how.delay_seconds, self._write, how, body)
        else:
            self._write(how, body)

    def _write(self, how: Behaviour, body: bytes) -> None:
        content = _content(how, body)
        cut = len(content) // 2 if how.reset else 0 if how.trickle_seconds else len(content)
        self._transport.write(_head(how, len(content)) + content[:cut])
        if how.reset:
            # A moment later, so that the half answer is on its way first.
            asyncio.get_running_loop().call_later(0.05, _tear_down, self._transport)
        elif how.trickle_seconds:
            self._trickle(content, how.trickle_seconds)
        elif how.closes:
            self._transport.close()

    def _trickle(self, content: bytes, seconds: float) -> None:
        if content and not self._transport.is_closing():
            self._transport.write(content[:1])
            asyncio.get_running_loop().call_later(seconds, self._trickle, content[1:], seconds)


def _items(state: _State) -> list[tuple[str, Behaviour]]:
    return list(state.behaviours.items())


def _decompress(body: bytes) -> bytes:
    return zlib.decompress(body, GZIP_WINDOW) if body.startswith(GZIP_MAGIC) else body


def _content(how: Behaviour, body: bytes) -> bytes:
    if how.failed is None:
        return how.body.encode()
    wanted = set(how.failed)
    results = [json.loads(line) for line in body.splitlines()]
    ids = [each["id"] for each in results if {each["id"], _custom_id(each)} & wanted]
    failed = [{"id": each, "reason": how.reason} for each in ids] if how.reason else ids
    return json.dumps({"failed": failed}).encode()


def _custom_id(line: dict[str, Any]) -> Any:
    return line.get("result", {}).get("custom_id")


def _head(how: Behaviour, length: int) -> bytes:
    kind = "application/json" if how.failed is not None else "text/plain"
    headers = {"Content-Length": str(length), "Content-Type": kind, **how.headers}
    if how.early:
        headers["Connection"] = "close"
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {how.status} Whatever\r\n{''.join(lines)}\r\n".encode()


def _tear_down(transport: asyncio.Transport) -> None:
    """Close with a reset instead of an orderly end."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Control(asyncio.Protocol):
    """The other port, on which the test gives its orders."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        route, _, start = self._url.decode().partition("?")
        content = self._do(route, start)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
        self._transport.write(content)

    def _do(self, route: str, start: str) -> bytes:
        state = self._state
        if route == "/counts":
            return json.dumps({"requests": state.requests, "lines": state.lines}).encode()
        if route == "/received":
            return b"\n".join(_encode(each) for each in state.records[int(start) :])
        if route == "/reset":
            state.clear()
        elif route == "/behaviour":
            order = json.loads(self._body)
            state.set(order["prefix"], Behaviour(**order["how"]))
        return b""


def _encode(received: Received) -> bytes:
    coded = {
        name: base64.b64encode(getattr(received, name)).decode() for name in ("body", "wire_body")
    }
    return json.dumps(vars(received) | coded).encode()


async def _serve(state: _State, port: int, certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    secure = None
    if certificate:
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(certificate)
    server = await loop.create_server(
        lambda: _Connection(state), "127.0.0.1", port, ssl=secure, backlog=1024
    )
    control = await loop.create_server(lambda: _Control(state), "127.0.0.1", 0)
    ports = [each.sockets[0].getsockname()[1] for each in (server, control)]
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    # The pipe ends with the test's process, however that ends.
    await asyncio.to_thread(sys.stdin.read)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--certificate")
    options = parser.parse_args()
    asyncio.run(_serve(_State(light=options.light), options.port, options.certificate))


if __name__ == "__main__":
    _main()
