"""Readers' copies of the ledger: nobody who only looks ever holds up a writer.

Whoever finds that the ledger has moved on copies it, with its write-ahead log (which is there
after a kill and holds committed rows), under the shared lock. Every copy has a new name, since
DuckDB goes on serving the old content of a name that it has open.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from storage.backups import log_of
from storage.checkpoint_guard import is_guarded, put_back_blocks
from storage.directory import DataDirectory
from storage.durable import disk_errors
from storage.ledger import Transaction, connection_settings, explained
from storage.locks import exclusive_lock, shared_lock

READER_MEMORY_BYTES = 512_000_000


@contextmanager
def snapshot(directory: DataDirectory, *, max_age_seconds: float = 1.0) -> Iterator[Transaction]:
    """Yield a read-only view of the ledger, at most so old if the ledger has changed since."""
    try:
        connection = _connect(directory, _current_copy(directory, max_age_seconds))
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield Transaction(connection)
        finally:
            connection.close()
    except duckdb.Error as error:
        raise explained(error, directory.ledger) from error


def ledger_generation(directory: DataDirectory) -> str:
    """Return a text that changes whenever the ledger does."""
    parts = []
    for path in (directory.ledger, log_of(directory.ledger)):
        try:
            found = path.stat()
        except FileNotFoundError:
            parts.append("0")
        else:
            parts.append(f"{found.st_mtime_ns:x}.{found.st_size:x}.{found.st_ino:x}")
    return "-".join(parts)


def _connect(directory: DataDirectory, copy: Path) -> duckdb.DuckDBPyConnection:
    for _ in range(2):
        try:
            return _open(directory, copy)
        except duckdb.IOException:
            # Another process replaced the copy between our look and our open.
            copy = _current_copy(directory, 0.0)
    return _open(directory, copy)


def _open(directory: DataDirectory, copy: Path) -> duckdb.DuckDBPyConnection:
    settings = connection_settings(directory, memory_bytes=READER_MEMORY_BYTES)
    return duckdb.connect(str(copy), read_only=True, config=settings)


def _current_copy(directory: DataDirectory, max_age_seconds: float) -> Path:
    newest = _newest(directory)
    if newest is not None:
        wanted = _path_of(directory, ledger_generation(directory))
        age_seconds = time.time() - _made_at(newest)
        # One from the future was made before the clock was put back: its age says nothing.
        if newest == wanted or 0 <= age_seconds < max_age_seconds:
            return newest
    return _copy(directory)


def _copy(directory: DataDirectory) -> Path:
    if is_guarded(directory.ledger):  # only after a crash, until somebody opens it
        with exclusive_lock(directory.ledger_lock):
            put_back_blocks(directory.ledger)
    with shared_lock(directory.ledger_lock), disk_errors(directory.snapshots):
        target = _path_of(directory, ledger_generation(directory))
        if target.exists():
            return target
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            shutil.copyfile(directory.ledger, unfinished)
            log = log_of(directory.ledger)
            if log.exists():
                # Not in its place: somebody may read the same copy, which another has just made.
                shutil.copyfile(log, log_of(unfinished))
                log_of(unfinished).replace(log_of(target))
            unfinished.replace(target)
        except BaseException:
            for leftover in (unfinished, log_of(unfinished)):
                leftover.unlink(missing_ok=True)  # tried each second, they would fill the disk
            raise
    _forget_all_but(directory, target)
    return target


def _forget_all_but(directory: DataDirectory, kept: Path) -> None:
    """Delete older copies; who still reads one keeps it until closing it."""
    for path in directory.snapshots.glob("*ledger.*"):
        old_enough = time.time() - _made_at(path) > 60.0  # noqa: PLR2004 - a minute
        if not path.name.lstrip(".").startswith(kept.name) and (
            old_enough or path.name.startswith("ledger.")
        ):
            path.unlink(missing_ok=True)


def _newest(directory: DataDirectory) -> Path | None:
    copies = list(directory.snapshots.glob("ledger.*.duckdb"))
    return max(copies, key=_made_at, default=None)


def _made_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _path_of(directory: DataDirectory, generation: str) -> Path:
    return directory.snapshots / f"ledger.{generation}.duckdb"
