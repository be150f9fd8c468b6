"""A way to a broker on which it is noted when it was told that a message has been taken."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pika import spec
from pika.frame import Body, Header, Method, decode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ_BYTES = 65_536


class Overhearing:
    """What one connection says in both directions, frame by frame."""

    def __init__(self, taken: list[tuple[int, bytes]]) -> None:
        self._taken = taken
        self._delivered: dict[int, bytes] = {}
        """Bodies by delivery tag, of one channel: the consumer has no other."""
        self._tag = 0
        self._unread = {"broker": b"", "consumer": b""}

    def hear(self, speaker: str, said: bytes) -> None:
        unread = self._unread[speaker] + said
        while unread:
            used, frame = decode_frame(unread)
            if not used:
                break
            unread = unread[used:]
            self._understand(frame)
        self._unread[speaker] = unread

    def _understand(self, frame: object) -> None:
        method = frame.method if isinstance(frame, Method) else None
        if isinstance(method, spec.Basic.Deliver):
            self._tag = method.delivery_tag
        elif isinstance(frame, Header):
            self._delivered[self._tag] = b""
        elif isinstance(frame, Body):
            self._delivered[self._tag] += frame.fragment
        elif isinstance(method, spec.Basic.Ack):
            self._note(method.delivery_tag, multiple=method.multiple)

    def _note(self, last: int, *, multiple: bool) -> None:
        tags = [tag for tag in self._delivered if tag == last or (multiple and tag < last)]
        now = time.time_ns()
        self._taken += [(now, self._delivered.pop(tag)) for tag in tags]


@contextmanager
def overheard(port: int, taken: list[tuple[int, bytes]]) -> Iterator[int]:
    """Yield a port that leads to the broker's; `taken` grows by (nanoseconds, body)."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, port, taken), daemon=True).start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, port: int, taken: list[tuple[int, bytes]]) -> None:
    with suppress(OSError):
        while True:
            consumer, _ = listening.accept()
            broker = socket.create_connection(("127.0.0.1", port))
            ears = Overhearing(taken)
            for ends in (("consumer", consumer, broker), ("broker", broker, consumer)):
                threading.Thread(target=_pass_on, args=(*ends, ears.hear), daemon=True).start()


def _pass_on(
    speaker: str, source: socket.socket, target: socket.socket, hear: Callable[[str, bytes], None]
) -> None:
    with source, suppress(OSError):
        while said := source.recv(READ_BYTES):
            hear(speaker, said)
            target.sendall(said)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
