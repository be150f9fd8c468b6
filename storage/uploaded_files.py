"""Files that come in over the network: nobody sees them before they are complete."""

import fcntl
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import xxhash

from storage.directory import DataDirectory
from storage.durable import disk_errors, publish
from storage.formats import SourceFormat
from storage.inbox import hand_over
from storage.inquiries import check_schema, jobs_with_content
from storage.snapshots import snapshot

_PREFIX: Final = ".upload-"


class UploadedFile:
    """A file being received; it is gone at the end of the block unless it was handed over.

    Its owner holds `flock` on it, so a free lock proves that the owner is dead.
    """

    def __init__(self, directory: DataDirectory, source_format: SourceFormat) -> None:
        self._directory = directory
        self.bytes = 0
        self._hash = xxhash.xxh3_128()
        self.path, self._file = _begun(directory.receiving, source_format)

    def write(self, data: bytes) -> None:
        """Append this; DiskFull if it does not fit."""
        left = memoryview(data)
        with disk_errors(self.path):
            while left:
                left = left[self._file.write(left) or 0 :]
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def content_hash(self) -> str:
        """Hash of what was written, as ingestion computes it."""
        return self._hash.hexdigest()

    def hand_over(self, name: str, *, side_settings: Mapping[str, Any]) -> Path:
        """Put the file into the inbox, durably, under this name or the next free one."""
        self._sync()
        return hand_over(self._directory, self.path, name, side_settings=side_settings)

    def move_to(self, place: Path) -> None:
        """Put the file elsewhere, durably."""
        self._sync()
        publish(self.path, place)

    def _sync(self) -> None:
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.path.unlink(missing_ok=True)
        self._file.close()


def _begun(folder: Path, source_format: SourceFormat) -> tuple[Path, FileIO]:
    """Make a file that nobody else takes for abandoned."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}.{source_format}"
        with disk_errors(path):
            file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        # Between making and locking another process took it for abandoned.
        file.close()


def remove_abandoned_uploads(directory: DataDirectory) -> int:
    """Delete uploads whose receiver was killed; nobody was told that they arrived."""
    removed = 0
    for path in directory.receiving.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed


def is_staged(directory: DataDirectory, name: str) -> bool:
    """Return whether a file of this name waits in the inbox or is being taken in."""
    if (directory.inbox / name).exists():
        return True
    return any(path.name.endswith(f"__{name}") for path in directory.claimed.iterdir())


def job_with_content(directory: DataDirectory, content_hash: str) -> str | None:
    """Return the job that took in this content before, or None."""
    if not directory.ledger.exists():
        return None
    with snapshot(directory, max_age_seconds=0.5) as reader:
        check_schema(reader)
        return jobs_with_content(reader, [content_hash]).get(content_hash)
