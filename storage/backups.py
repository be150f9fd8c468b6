"""Copies of the ledger to go back to."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from storage.directory import DataDirectory
from storage.durable import written_durably
from storage.locks import shared_lock


def back_up_ledger(directory: DataDirectory, *, keep: int) -> Path:
    """Copy the ledger under its lock and forget all but the newest copies."""
    with shared_lock(directory.ledger_lock):
        copy = back_up(directory, label="hourly")
    for old in sorted(directory.backups.glob("*-hourly.duckdb"))[:-keep]:
        log_of(old).unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return copy


def back_up(directory: DataDirectory, *, label: str) -> Path:
    """Copy the ledger, whose lock the caller holds, and its log into `backups/`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = directory.backups / f"ledger-{stamp}-{label}.duckdb"
    if log_of(directory.ledger).exists():
        _copy(log_of(directory.ledger), log_of(target))
    _copy(directory.ledger, target)
    return target


def log_of(ledger: Path) -> Path:
    """Return the write-ahead log beside a ledger; it exists after a kill."""
    return ledger.with_name(ledger.name + ".wal")


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, written_durably(target) as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
