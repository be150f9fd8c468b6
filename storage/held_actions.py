"""What people do with files that wait, told in the audit trail."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from batching.errors import BatchManagerError
from storage.directory import DataDirectory
from storage.held_files import StartedFile, discard_held_file, held_file, start_held_file
from storage.ledger import Ledger

logger = logging.getLogger(__name__)

OpenLedger = Callable[[], Ledger]


def start_on_record(
    directory: DataDirectory,
    held: str,
    *,
    again: bool,
    actor: str,
    ledger: OpenLedger,
    side_settings: Mapping[str, Any] | None = None,
) -> StartedFile | None:
    """Put a file that waits into the inbox as `start_held_file` does, and write down who did."""
    started = start_held_file(directory, held, again=again, side_settings=side_settings)
    if started is not None and started.duplicate:
        reason = f"job {started.job} has taken in the same content before"
        _write_down(ledger, started.file, "discarded", actor=actor, reason=reason)
    elif started is not None:
        reason = f"job {started.job}, {started.bytes:,} bytes"
        _write_down(ledger, started.file, "started", actor=actor, reason=reason)
    return started


def discard_on_record(
    directory: DataDirectory, held: str, *, actor: str, ledger: OpenLedger
) -> bool:
    """Delete a file that waits and write down who did; return whether it was there."""
    waiting = held_file(directory, held)
    is_gone = discard_held_file(directory, held)
    if waiting is not None and is_gone:
        reason = f"{waiting.bytes:,} bytes, nothing of it was taken in"
        _write_down(ledger, waiting.file, "discarded", actor=actor, reason=reason)
    return is_gone


def _write_down(ledger: OpenLedger, file: str, what: str, *, actor: str, reason: str) -> None:
    """Write the line; what was done stays done without it, as intake needs no ledger."""
    try:
        with ledger().transaction() as transaction:
            transaction.record_move("file", file, what, actor=actor, reason=reason)
    except (BatchManagerError, OSError) as error:
        logger.warning("the file %s was %s by %s: not in the trail (%s)", file, what, actor, error)
