"""Where a process can be killed: every commit, change of a file and call to the outside.

The product does not know of it. What it works through (the ledger's connection, `os`, the
provider's client, the transport of webhooks, the channels of RabbitMQ) is wrapped.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from crash_points import Switchboard

UNDER_WAY_SECONDS = 0.15
"""How long a call has been under way when the process dies in the middle of it."""
_READING = ("SELECT", "FROM", "SET", "BEGIN", "ROLLBACK", "WITH", "PRAGMA")
_FORMAL = ("COMMIT", "CHECKPOINT", "COPY", "ATTACH", "DETACH")
_real_truncate = os.truncate


def watch_everything(board: Switchboard, data: Path) -> None:
    """Put a point before and after whatever this process does to the world, from now on."""
    watch_ledger(board)
    Files(board, data).watch()
    watch_provider(board)
    watch_webhooks(board)
    watch_rabbitmq(board)


# Ledger -----------------------------------------------------------------------------------


class WatchedConnection:
    """A connection that passes points around what makes changes last."""

    def __init__(self, connection: Any, board: Switchboard) -> None:
        self._connection = connection
        self._board = board
        self.has_written = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        word = sql.split(None, 1)[0].upper() if sql.strip() else ""
        if word in _FORMAL:
            if not self.has_written and word == "COMMIT":
                return self._connection.execute(sql, *parameters)
            self._board.reach(word.lower(), "before")
            done = self._connection.execute(sql, *parameters)
            self._board.reach(word.lower(), "after")
            return done
        self.has_written |= word not in _READING
        return self._connection.execute(sql, *parameters)


def watch_ledger(board: Switchboard) -> None:
    """Put points around each commit of the ledger, and behind the closing of its file."""
    from storage.ledger import Ledger  # noqa: PLC0415 - imported in the forked process

    connected = Ledger._connected

    @contextmanager
    def watched(ledger: Ledger, path: Path | None = None) -> Iterator[Any]:
        with connected(ledger, path) as connection:
            wrapped = WatchedConnection(connection, board)
            yield wrapped
        if wrapped.has_written:
            board.reach("close the ledger", "after")

    Ledger._connected = watched  # type: ignore[method-assign,assignment] # this is the seam


# Files ------------------------------------------------------------------------------------


class Files:
    """Everything that is done to files of the data directory through `os`."""

    def __init__(self, board: Switchboard, data: Path) -> None:
        self._board = board
        self._root = f"{data.absolute()}/"
        self._synced = {
            str(path): path.stat().st_size
            for folder in ("outbox", "staging")
            for path in (data / folder).rglob("*")
            if path.is_file()
        }
        """How much of a file was there before its last change; only newer bytes can be torn."""

    def watch(self) -> None:
        """Put points around each of these calls."""
        for name in ("replace", "rename", "link"):
            self._watch(name, lambda _source, target, *_, **__: self._place(target))
        for name in ("unlink", "remove", "rmdir", "mkdir", "truncate"):
            self._watch(name, lambda path, *_, dir_fd=None, **__: self._place(path, dir_fd))
        self._watch("ftruncate", lambda descriptor, _: self._place_of(descriptor))
        self._watch_syncs()
        self._watch_writes()

    def _watch(self, name: str, place_of: Callable[..., str | None]) -> None:
        real = getattr(os, name)

        @wraps(real)
        def watched(*arguments: Any, **named: Any) -> Any:
            place = place_of(*arguments, **named)
            if place is None:
                return real(*arguments, **named)
            self._board.reach(f"{name} {place}", "before")
            done = real(*arguments, **named)
            self._board.reach(f"{name} {place}", "after")
            return done

        setattr(os, name, watched)

    def _watch_syncs(self) -> None:
        for name in ("fsync", "fdatasync"):
            real = getattr(os, name)

            def watched(descriptor: int, real: Any = real) -> None:
                place = self._place_of(descriptor)
                if place is None:
                    return real(descriptor)
                path = str(_opened(descriptor))
                if not Path(path).is_dir():
                    self._pass_half(path, place)
                self._board.reach(f"sync {place}", "before")
                real(descriptor)
                self._synced[path] = os.fstat(descriptor).st_size
                return None

            setattr(os, name, watched)

    def _pass_half(self, path: str, place: str) -> None:
        size = Path(path).stat().st_size
        before = 0 if path.endswith(".tmp") else min(self._synced.get(path, 0), size)
        if size > before:
            middle = before + (size - before) // 2
            self._board.reach(f"write {place}", "half", lambda: _real_truncate(path, middle))

    def _watch_writes(self) -> None:
        write, send = os.write, os.sendfile

        def watched_write(descriptor: int, data: Any) -> int:
            place = self._place_of(descriptor)
            if place is not None:
                half = bytes(data)[: len(data) // 2]
                self._board.reach(f"write {place}", "half", lambda: write(descriptor, half))
            return write(descriptor, data)

        def watched_send(target: int, source: int, offset: int, count: int) -> int:
            place = self._place_of(target)
            size = os.fstat(source).st_size
            if place is not None and offset == 0 and size:
                self._board.reach(
                    f"copy {place}", "half", lambda: send(target, source, 0, size // 2)
                )
            return send(target, source, offset, count)

        os.write, os.sendfile = watched_write, watched_send  # type: ignore[assignment] # the seam

    def _place_of(self, descriptor: int) -> str | None:
        try:
            return self._place(_opened(descriptor))
        except OSError:
            return None

    def _place(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return the folder and the kind of a file; None if it is not ours or does not matter."""
        text = os.fsdecode(path)
        if dir_fd is not None:
            text = str(_opened(dir_fd) / text)
        if not f"{text}/".startswith(self._root):
            return None
        top, *inner = text.removeprefix(self._root).split("/")
        if top in {"health", "locks", "temporary"}:
            return None
        folder = "/".join([top, *inner[:1]] if top == "staging" else [top])
        ending = text.rpartition("/")[2].partition(".")[2] if inner else ""
        kind = ".".join(part for part in ending.split(".")[-2:] if part.isalpha())
        return f"{folder} {kind}".strip()


def _opened(descriptor: int) -> Path:
    """Return what a descriptor was opened for."""
    return Path(f"/proc/self/fd/{descriptor}").readlink()


# Calls to the outside ---------------------------------------------------------------------


def watch_provider(board: Switchboard) -> None:
    """Put points around each call of the provider, and in the middle of those that change it."""
    from clients.openai_batches import OpenAIBatches  # noqa: PLC0415 - see above

    for name in ("check", "upload", "create", "retrieve", "cancel", "file", "delete_file",
                 "download"):  # fmt: skip
        real = getattr(OpenAIBatches, name)

        def watched(
            *arguments: Any, real: Any = real, seam: str = f"provider {name}", **named: Any
        ) -> Any:
            board.reach(seam, "before")
            if seam.endswith(("create", "upload")):
                board.reach(seam, "under way", lambda: _call_and_leave(real, *arguments, **named))
            try:
                return real(*arguments, **named)
            finally:
                board.reach(seam, "after")

        setattr(OpenAIBatches, name, watched)
    for name in ("list_batches", "list_files"):
        real = getattr(OpenAIBatches, name)

        def listed(
            *arguments: Any, real: Any = real, seam: str = f"provider {name}", **named: Any
        ) -> Iterator[Any]:
            board.reach(seam, "before")
            found = list(real(*arguments, **named))
            board.reach(seam, "after")
            yield from found

        setattr(OpenAIBatches, name, listed)


def _call_and_leave(call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Begin a call and return while it is under way (or just done)."""
    threading.Thread(target=call, args=arguments, kwargs=named, daemon=True).start()
    time.sleep(UNDER_WAY_SECONDS)


def watch_webhooks(board: Switchboard) -> None:
    """Put points around each POST."""
    from clients.webhook_transport import GuardedTransport  # noqa: PLC0415 - see above

    real = GuardedTransport.handle_async_request

    async def watched(transport: GuardedTransport, request: Any) -> Any:
        board.reach("webhook", "before")
        answer = await real(transport, request)
        board.reach("webhook", "after")
        return answer

    GuardedTransport.handle_async_request = watched  # type: ignore[method-assign] # the seam


def watch_rabbitmq(board: Switchboard) -> None:
    """Put points around each message that is published, confirmed or acknowledged."""
    from pika.adapters.blocking_connection import BlockingChannel  # noqa: PLC0415 - see above

    from clients.rabbitmq_lanes import Lane  # noqa: PLC0415 - see above

    for owner, name, seam in (
        (Lane, "send", "rabbitmq publish"), (Lane, "_answered", "rabbitmq confirm"),
        (BlockingChannel, "basic_ack", "rabbitmq ack"),
        (BlockingChannel, "basic_reject", "rabbitmq reject"),
    ):  # fmt: skip
        real = getattr(owner, name)

        def watched(*arguments: Any, real: Any = real, seam: str = seam, **named: Any) -> Any:
            board.reach(seam, "before")
            done = real(*arguments, **named)
            board.reach(seam, "after")
            return done

        setattr(owner, name, watched)
