"""Files that are there completely or not at all, even after a power cut.

Everything is written beside its place as `.<name>.tmp`, synced and renamed. The temporary
name is the same each time, so what a crash left behind is overwritten by the next try.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from batching.errors import ConfigurationError, DiskFull

_TAIL_BYTES = 1_000_000
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into DiskFull with the path in question."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull(
                f"no space left while writing {path}: free some space, then it goes on by itself"
            ) from error
        raise


def temporary_path(path: Path) -> Path:
    """Return the name under which a file is written before it is published."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def written_durably(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into; it appears under its name, synced, only if all went well."""
    temporary = temporary_path(path)
    try:
        with disk_errors(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_durably(path: Path, content: bytes) -> None:
    """Put this content at the path: synced, and never seen half-written."""
    with written_durably(path) as file:
        file.write(content)


def sync_file(path: Path) -> None:
    """Return when what was written to the file is on the disk."""
    _sync(path, os.O_RDONLY)


def publish(temporary: Path, path: Path) -> None:
    """Give a synced file its final name, so that the name outlives a power cut too."""
    temporary.replace(path)
    sync_folder(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename a file, also between folders, so that a power cut cannot undo half of it."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise ConfigurationError(
            f"{source.parent} and {target.parent} lie on different file systems, so that no file "
            "can be moved between them in one step: mount the whole data directory instead"
        ) from error
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def end_of_last_line(descriptor: int) -> int:
    """Return the offset behind the last newline of an open file; 0 if it has none."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Return when the names in the folder are on the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(folder: Path) -> None:
    """Make the folder so that a power cut cannot take it away with what is put into it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def remove_leftovers(folder: Path) -> int:
    """Delete what a crash left half-written in the folder; return how many files that were.

    Only the owner of the folder may call this: another writer's file may be among them.
    """
    leftovers = list(folder.glob(".*.tmp"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        with disk_errors(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
