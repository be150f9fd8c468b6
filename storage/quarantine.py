"""Refused messages: recorded durably before the broker is told to drop them.

One file a day, `rejected/<source>-<date>.jsonl`, continued under the next number when it grows
large. Several processes may write to it: each record goes in as a whole, under a lock.
"""

import base64
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from storage.directory import DataDirectory
from storage.durable import disk_errors, end_of_last_line, sync_folder

LARGEST_FILE_BYTES: Final = 64_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedMessage:
    """A message that is no request: where it came from, why it was refused, its body."""

    received_at: datetime
    queue: str
    exchange: str
    routing_key: str
    message_id: str | None
    code: str
    """For scripts; `reason` is for people."""
    reason: str
    body: bytes


class Quarantine:
    """Appends refused messages durably to files in `staging/rejected`."""

    def __init__(
        self,
        directory: DataDirectory,
        *,
        source: str,
        largest_file_bytes: int = LARGEST_FILE_BYTES,
    ) -> None:
        self._folder = directory.rejected
        self._source = source
        self._largest_file_bytes = largest_file_bytes

    def write(self, messages: Sequence[RefusedMessage]) -> None:
        """Append the records; they are durable when this returns, and not there if it raises."""
        if messages:
            records = b"".join(_record(message) for message in messages)
            path = self._path(messages[0].received_at)
            with disk_errors(path), _locked_file(path) as descriptor:
                _append(descriptor, records)

    def _path(self, at: datetime) -> Path:
        """Return the first file of the day that is not too large yet."""
        name = f"{self._source}-{at.astimezone(UTC):%Y-%m-%d}"
        for number in count(1):
            path = self._folder / (f"{name}.jsonl" if number == 1 else f"{name}-{number}.jsonl")
            with suppress(FileNotFoundError):
                if path.stat().st_size >= self._largest_file_bytes:
                    continue
            return path
        raise AssertionError("there are always more numbers")


def _record(message: RefusedMessage) -> bytes:
    record: dict[str, object] = {
        "received_at": message.received_at,
        "queue": message.queue,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "message_id": message.message_id,
        "code": message.code,
        "reason": message.reason,
    }
    try:
        record["raw"] = message.body.decode()
    except UnicodeDecodeError:
        record["raw_base64"] = base64.b64encode(message.body).decode()
    return msgspec.json.encode(record) + b"\n"


@contextmanager
def _locked_file(path: Path) -> Iterator[int]:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
        if is_new:
            sync_folder(path.parent)
    finally:
        os.close(descriptor)


def _append(descriptor: int, records: bytes) -> None:
    end = end_of_last_line(descriptor)
    os.ftruncate(descriptor, end)  # what a killed process wrote in part, its message comes again
    try:
        left = memoryview(records)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fdatasync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise
