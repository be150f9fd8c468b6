"""Files that somebody goes on writing to after they were taken in: the growth is taken in too."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.sources import recent_sources
from storage.staging import is_complete

WATCHED = timedelta(days=1)
"""How long after it was taken in a file is looked at for growth."""


def can_grow(name: str) -> bool:
    """Return whether lines can be added to a file of this name."""
    return name.lower().endswith((".jsonl", ".ndjson"))


def grown_files(
    reader: Transaction, directory: DataDirectory, *, at: datetime, stable_seconds: float
) -> Iterator[Path]:
    """Yield the archived files that have grown since they were read and stand still again."""
    for source in recent_sources(reader, since=at - WATCHED):
        path = directory.archive / f"{source['source_id']}__{source['name']}"
        if can_grow(path.name) and has_grown(
            path, source["end_offset"], stable_seconds=stable_seconds
        ):
            yield path


def has_grown(path: Path, read_bytes: int, *, stable_seconds: float) -> bool:
    """Return whether more was added to a file than was read, and that is complete.

    Half a line taken in would be refused, and its other half as well.
    """
    try:
        grown = path.stat().st_size > read_bytes
    except OSError:
        return False
    return grown and is_complete(path, stable_seconds=stable_seconds)
