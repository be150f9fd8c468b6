"""The least that publishing to RabbitMQ takes: frames built beforehand, bytes on a socket."""

import select
import socket
import struct
import time
from typing import Any, Self

from pika import frame, spec

_READ_BYTES = 1 << 18
_SEND_BYTES = 1 << 18
_BASIC_ACK = b"\x00\x3c\x00\x50"
_METHOD_FRAME = 1


class RawPublisher:
    """One channel in confirm mode, driven without any library."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._open()
        self._last_tag = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def publish(self, frames: list[bytes], *, window: int) -> float:
        """Send the messages with so many unconfirmed; return the seconds until all are."""
        began = time.perf_counter()
        confirms = _Confirms(self._last_tag)
        sent, pending = 0, memoryview(b"")
        self._socket.setblocking(False)
        while confirms.count < len(frames):
            if not pending and sent - confirms.count <= window // 2:
                count = min(window - (sent - confirms.count), len(frames) - sent)
                pending = memoryview(b"".join(frames[sent : sent + count]))
                sent += count
            readable, writable, _ = select.select(
                [self._socket], [self._socket] if pending else [], [], 30
            )
            if writable:
                pending = pending[self._socket.send(pending[:_SEND_BYTES]) :]
            if readable:
                self._received = confirms.read(self._received + self._socket.recv(_READ_BYTES))
        self._last_tag += len(frames)
        return time.perf_counter() - began

    def _open(self) -> None:
        self._socket.sendall(frame.ProtocolHeader().marshal())
        self._await(spec.Connection.Start)
        self._send(0, spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
        tune = self._await(spec.Connection.Tune)
        self._send(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._send(0, spec.Connection.Open("/"))
        self._await(spec.Connection.OpenOk)
        self._send(1, spec.Channel.Open())
        self._await(spec.Channel.OpenOk)
        self._send(1, spec.Confirm.Select())
        self._await(spec.Confirm.SelectOk)

    def _send(self, channel: int, method: Any) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _await(self, kind: type) -> Any:
        while True:
            consumed, found = frame.decode_frame(self._received)
            if found is None:
                self._received += self._socket.recv(_READ_BYTES)
                continue
            self._received = self._received[consumed:]
            if not isinstance(found.method, kind):
                raise TypeError(f"the broker said {found.method}, not {kind.__name__}")
            return found.method


class _Confirms:
    """How many messages are confirmed, whatever the order."""

    def __init__(self, last_tag: int) -> None:
        self.count = 0
        self._all_until = last_tag
        self._single: set[int] = set()

    def read(self, received: bytes) -> bytes:
        """Count what the frames say and return the incomplete rest."""
        start = 0
        while len(received) - start >= 8:
            kind, _, size = struct.unpack_from(">BHI", received, start)
            if len(received) - start < size + 8:
                break
            if kind != _METHOD_FRAME or received[start + 7 : start + 11] != _BASIC_ACK:
                raise ValueError("the broker sent something else than a confirm")
            tag, is_multiple = struct.unpack_from(">QB", received, start + 11)
            self._confirm(tag, is_multiple=bool(is_multiple))
            start += size + 8
        return received[start:]

    def _confirm(self, tag: int, *, is_multiple: bool) -> None:
        if not is_multiple:
            self._single.add(tag)
            self.count += 1
            return
        known = {single for single in self._single if single <= tag}
        self._single -= known
        self.count += tag - self._all_until - len(known)
        self._all_until = tag


def frames_of(queue: str, body: bytes, properties: Any) -> bytes:
    """Return one message to a queue as bytes for the wire: persistent and mandatory."""
    return b"".join(
        piece.marshal()
        for piece in (
            frame.Method(1, spec.Basic.Publish(routing_key=queue, mandatory=True)),
            frame.Header(1, len(body), properties),
            frame.Body(1, body),
        )
    )
