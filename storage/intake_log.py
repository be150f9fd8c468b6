"""The append log of a receiver: nothing is acknowledged before it is here, durably.

Its owner holds `flock` on the open log, so a free lock proves that the owner is dead. A group
of lines is written and synced as one. If that fails, the file is cut back to the last durable
byte; if even that fails, the log is closed for ever with its valid length in its name, and the
next group begins a new one: no good line ever follows a torn one.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, Self

from storage.directory import DataDirectory
from storage.durable import disk_errors, end_of_last_line, move, sync_folder
from storage.log_files import is_log, lines_waiting, logs_in, new_log_name, sealed_name

__all__ = ["IntakeLog", "has_abandoned_logs", "lines_waiting", "seal_abandoned_logs"]

logger = logging.getLogger(__name__)

_REASONS: Final = {
    errno.ENOENT: "the folder is not there (is the disk mounted?)",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this user may not write there",
}


class IntakeLog:
    """Appends accepted lines durably and hands them over to ingestion.

    It belongs to one thread at a time.
    """

    def __init__(
        self, directory: DataDirectory, *, role: str, seal_seconds: float, seal_bytes: int
    ) -> None:
        if not is_log(new_log_name(role)):
            raise ValueError(f"a receiver cannot be called {role!r}: use a-z, 0-9, - and _")
        self._directory = directory
        self._role = role
        self._seal_seconds = seal_seconds
        self._seal_bytes = seal_bytes
        self._open_log: _OpenLog | None = None
        self._spoilt: list[_OpenLog] = []
        self._in_use = Lock()

    def write(self, lines: Sequence[bytes]) -> None:
        """Append whole lines; they are durable when this returns, and not there if it raises."""
        if not lines:
            return
        with self._alone(), _explained(self._directory.receiving):
            if self._open_log is None:
                self._open_log = _OpenLog.begin(self._directory.receiving, self._role)
            try:
                self._open_log.append(b"".join(lines))
            except BaseException:
                if not self._open_log.cut_back():
                    self._spoilt.append(self._open_log)
                    self._open_log = None
                    with suppress(OSError):
                        self._seal_spoilt()
                raise

    def seal_if_due(self) -> bool:
        """Hand the log over if it is old or large enough; return whether that was so."""
        with self._alone(), _explained(self._directory.inbox):
            self._seal_spoilt()
            log = self._open_log
            if log is None or not log.durable_bytes:
                return False
            age_seconds = time.monotonic() - log.begun_at
            if log.durable_bytes < self._seal_bytes and age_seconds < self._seal_seconds:
                return False
            self._seal(log, urgent=False)
            return True

    def seal(self, *, urgent: bool = False) -> Path | None:
        """Hand the log over now and return where it lies; None if nothing was written.

        An urgent log is taken in at once, and so is what was handed over before.
        """
        with self._alone(), _explained(self._directory.inbox):
            self._seal_spoilt()
            if self._open_log is not None and self._open_log.durable_bytes:
                return self._seal(self._open_log, urgent=urgent)
            if urgent:
                _hurry_last(self._directory)
            return None

    def close(self) -> None:
        """Hand over what was written; if that fails, the log is found abandoned later."""
        try:
            self.seal()
        finally:
            for log in (*self._spoilt, self._open_log):
                if log is not None:
                    log.release()
            self._spoilt, self._open_log = [], None

    def _seal(self, log: "_OpenLog", *, urgent: bool) -> Path:
        target = log.move_to(self._directory.inbox, urgent=urgent)
        self._open_log = None
        log.release()
        return target

    def _seal_spoilt(self) -> None:
        while self._spoilt:
            self._spoilt[0].move_to(self._directory.inbox, urgent=False)
            self._spoilt.pop(0).release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("an intake log belongs to one thread at a time")
        try:
            yield
        finally:
            self._in_use.release()


def seal_abandoned_logs(directory: DataDirectory) -> int:
    """Hand over the logs whose owner is dead, without a torn last line; return how many."""
    count = 0
    for log in logs_in(directory.receiving):
        try:
            count += _seal_if_abandoned(log.path, directory)
        except OSError as error:
            logger.warning(
                "a dead receiver's log cannot be handed over yet",
                extra={"log": log.path.name, "problem": str(error)},
            )
    return count


def has_abandoned_logs(directory: DataDirectory) -> bool:
    """Return whether a log lies there whose owner is dead."""
    return any(_is_abandoned(log.path) for log in logs_in(directory.receiving))


@dataclass(slots=True)
class _OpenLog:
    """A log that this process is writing, with its lock."""

    path: Path
    descriptor: int
    begun_at: float
    durable_bytes: int = 0
    is_cut: bool = True
    """Whether the file ends with the last durable byte."""

    @classmethod
    def begin(cls, folder: Path, role: str) -> Self:
        """Make a log that nobody else takes for abandoned."""
        while True:
            path = folder / new_log_name(role)
            with disk_errors(path):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            try:
                if _locked(descriptor) and _is_at(descriptor, path):
                    sync_folder(folder)
                    return cls(path=path, descriptor=descriptor, begun_at=time.monotonic())
            except BaseException:
                os.close(descriptor)
                raise
            # Between making and locking somebody took the empty file for abandoned.
            os.close(descriptor)

    def append(self, data: bytes) -> None:
        """Write all of it and wait until the disk has it."""
        left = memoryview(data)
        self.is_cut = False
        with disk_errors(self.path):
            while left:
                left = left[os.write(self.descriptor, left) :]
            os.fdatasync(self.descriptor)
        if os.fstat(self.descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "somebody deleted the log", str(self.path))
        self.durable_bytes += len(data)
        self.is_cut = True

    def cut_back(self) -> bool:
        """Take away what is not durable; return whether the log can be used further."""
        try:
            os.ftruncate(self.descriptor, self.durable_bytes)
            self.is_cut = os.fstat(self.descriptor).st_size == self.durable_bytes
            return self.is_cut and _is_at(self.descriptor, self.path)
        except OSError:
            return False

    def move_to(self, inbox: Path, *, urgent: bool) -> Path:
        """Hand the log over; if the file cannot be cut, its name tells where it ends."""
        with suppress(OSError):
            if not self.is_cut:
                self.cut_back()
        end_offset = None if self.is_cut else self.durable_bytes
        target = inbox / sealed_name(self.path.name, end_offset=end_offset, urgent=urgent)
        if not _is_at(self.descriptor, self.path):
            return target  # it was moved before, or somebody deleted it: nothing is left to move
        os.fsync(self.descriptor)
        move(self.path, target)
        return target

    def release(self) -> None:
        """Close the log; its lock goes with it."""
        with suppress(OSError):
            os.close(self.descriptor)


def _seal_if_abandoned(path: Path, directory: DataDirectory) -> bool:
    with _taken_over(path, os.O_RDWR) as descriptor:
        if descriptor is None:
            return False
        end = end_of_last_line(descriptor)
        if end == 0:
            path.unlink(missing_ok=True)
            return False
        if end < os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, end)
        os.fsync(descriptor)
        move(path, directory.inbox / path.name)
        return True


def _is_abandoned(path: Path) -> bool:
    with _taken_over(path, os.O_RDONLY) as descriptor:
        return descriptor is not None


@contextmanager
def _taken_over(path: Path, flags: int) -> Iterator[int | None]:
    """Yield the open file of a log while nobody else can have it; None if it has an owner."""
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor if _locked(descriptor) and _is_at(descriptor, path) else None
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file still has this name."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _hurry_last(directory: DataDirectory) -> None:
    """Make the last log that waits an urgent one; ingestion takes all of them together."""
    for log in reversed(logs_in(directory.inbox)):
        if log.is_urgent:
            return
        target = sealed_name(log.path.name, urgent=True)
        with suppress(FileNotFoundError):  # it has been taken in meanwhile
            log.path.replace(log.path.with_name(target))
            return


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say in words why the receivers' folder cannot be used."""
    try:
        with disk_errors(folder):
            yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise OSError(error.errno, f"nothing can be received: {reason}", str(folder)) from error
