"""File locks between processes: `flock` on files that are never deleted.

A lock file that is deleted and made anew lets a second owner in, so none is ever removed.
The lock goes with its holder: a killed process leaves nothing behind.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock alone; wait for whoever has it."""
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Hold the lock together with other readers; wait for a writer."""
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_lock_if_free(path: Path) -> Iterator[bool]:
    """Yield whether the lock was free; if so, hold it alone until the end."""
    handle = _open(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    handle = _open(path)
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        # Said explicitly: a forked child would keep the lock if it only went by closing.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
