"""Copies of the ledger to go back to.

A copy knows nothing of what happens after it, so each carries the lock on submission: whoever
puts it back sends nothing before the account has been swept.
"""

import shutil
from pathlib import Path

import duckdb

from batching.clock import now
from storage.directory import DataDirectory
from storage.durable import disk_errors, publish, sync_file, temporary_path
from storage.locks import shared_lock
from storage.submission_lock import lock_row


def back_up_ledger(directory: DataDirectory, *, keep: int) -> Path:
    """Copy the ledger under its lock and forget all but the newest copies."""
    with shared_lock(directory.ledger_lock):
        copy = back_up(directory, label="hourly")
    for old in _hourly_copies(directory)[:-keep]:
        log_of(old).unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return copy


def _hourly_copies(directory: DataDirectory) -> list[Path]:
    """Return the hourly copies, oldest first; those from a clock that was ahead count as oldest."""
    copies = sorted(directory.backups.glob("*-hourly.duckdb"))
    present = _name(label="hourly")
    return [copy for copy in copies if copy.name > present] + [
        copy for copy in copies if copy.name <= present
    ]


def _name(*, label: str) -> str:
    return f"ledger-{now():%Y%m%dT%H%M%S%f}-{label}.duckdb"


def back_up(directory: DataDirectory, *, label: str) -> Path:
    """Copy the ledger, whose lock the caller holds, into `backups/`; its log goes into the copy."""
    target = directory.backups / _name(label=label)
    temporary = temporary_path(target)
    try:
        with disk_errors(target):
            shutil.copyfile(directory.ledger, temporary)
            if log_of(directory.ledger).exists():
                shutil.copyfile(log_of(directory.ledger), log_of(temporary))
        _lock_copy(temporary, f"the ledger was restored from the copy of {_minute()}")
        sync_file(temporary)
        publish(temporary, target)
    except BaseException:
        for path in (temporary, log_of(temporary)):
            path.unlink(missing_ok=True)
        raise
    return target


def _minute() -> str:
    return f"{now():%Y-%m-%d %H:%M} UTC"


def _lock_copy(copy: Path, reason: str) -> None:
    """Put the lock on submission into a copy of the ledger."""
    from storage.ledger import explained  # noqa: PLC0415 - the ledger imports this module

    key, lock = lock_row(reason)
    try:
        with duckdb.connect(str(copy)) as connection:
            connection.execute("DELETE FROM meta WHERE key = ?", [key])
            connection.execute("INSERT INTO meta VALUES (?, ?)", [key, lock])
            connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise explained(error, copy) from error


def log_of(ledger: Path) -> Path:
    """Return the write-ahead log beside a ledger; it exists after a kill."""
    return ledger.with_name(ledger.name + ".wal")
