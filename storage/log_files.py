"""The names of receivers' logs, and what can be read of them.

`<role>-<id>.obmlog`; the id begins with the time and is the log's source id. A sealed log may
say more in its name: `.upto-<bytes>` when what lies behind was never durable and could not be
cut off, `.urgent` when somebody waits for it.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from batching.clock import age_seconds, now
from storage.directory import DataDirectory
from storage.received_lines import ReceivedLine, read_received_line, whole_lines

_BLOCK_BYTES: Final = 4_000_000
_WORTH_A_SEGMENT_BYTES: Final = 32_000_000
_NAME: Final = re.compile(
    r"(?P<role>[a-z0-9_-]+)-(?P<id>\d{8}T\d{12}-[0-9a-f]{8})"
    r"(?:\.upto-(?P<bytes>\d+))?(?P<urgent>\.urgent)?\.obmlog"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFile:
    """A log of a receiver, as its name describes it."""

    path: Path
    role: str
    source_id: str
    end_offset: int | None
    """Where it ends, if that is not the end of the file."""
    is_urgent: bool

    def blocks(self) -> Iterator[bytes]:
        """Yield what is valid of the file."""
        left = self.end_offset
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left)):
                left = None if left is None else left - len(block)
                yield block

    @property
    def bytes(self) -> int:
        """How many bytes of it are valid."""
        size = self.path.stat().st_size
        return size if self.end_offset is None else min(size, self.end_offset)


def new_log_name(role: str) -> str:
    """Return a name for a log that begins now."""
    at = now()
    return f"{role}-{at:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.obmlog"


def sealed_name(name: str, *, end_offset: int | None = None, urgent: bool = False) -> str:
    """Return what an open log is called once it is complete."""
    stem = name.removesuffix(".obmlog")
    end = "" if end_offset is None else f".upto-{end_offset}"
    return f"{stem}{end}{'.urgent' if urgent else ''}.obmlog"


def log_file(path: Path) -> LogFile | None:
    """Return the log that has this name; None if it is no receiver's log."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return LogFile(
        path=path,
        role=match["role"],
        source_id=match["id"],
        end_offset=int(match["bytes"]) if match["bytes"] else None,
        is_urgent=match["urgent"] is not None,
    )


def is_log(name: str) -> bool:
    """Return whether a receiver's log is called like this."""
    return _NAME.fullmatch(name) is not None


def logs_in(folder: Path) -> list[LogFile]:
    """Return the receivers' logs in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [log for path in folder.iterdir() if (log := log_file(path)) is not None]
    return sorted(found, key=lambda log: log.source_id)


def lines_waiting(directory: DataDirectory, *, sealed_only: bool = False) -> Iterator[ReceivedLine]:
    """Yield what receivers accepted and ingestion may not have recorded yet.

    A log that is still written may hold lines that are not durable yet and go away again:
    `sealed_only` leaves them out. Logs that ingestion deletes meanwhile are passed over.
    """
    # The inbox twice: a log may get its urgent name, or come, while others are read.
    folders = [directory.inbox, directory.inbox]
    seen: set[str] = set()
    for folder in folders if sealed_only else [directory.receiving, *folders]:
        for log in logs_in(folder):
            if log.source_id in seen:
                continue
            try:
                yield from lines_of(log)
            except FileNotFoundError:  # it has moved on, or is in the ledger by now
                continue
            seen.add(log.source_id)


def lines_of(log: LogFile) -> Iterator[ReceivedLine]:
    """Yield the undamaged lines of a log; FileNotFoundError if it has gone away."""
    for lines in whole_lines(log.blocks()):
        for text in lines:
            if (line := read_received_line(text)) is not None:
                yield line


def logs_are_due(directory: DataDirectory, *, patience_seconds: float) -> bool:
    """Return whether waiting logs are worth a segment: many bytes, an old one, or an urgent one."""
    waiting_bytes = 0
    for log in logs_in(directory.inbox):
        try:
            status = log.path.stat()
        except FileNotFoundError:  # taken in meanwhile
            continue
        waiting_bytes += status.st_size
        # The change time: the rename into the inbox sets it.
        came_at = datetime.fromtimestamp(status.st_ctime, UTC)
        has_waited = age_seconds(came_at, now()) >= patience_seconds or not patience_seconds
        if log.is_urgent or has_waited or waiting_bytes >= _WORTH_A_SEGMENT_BYTES:
            return True
    return False
