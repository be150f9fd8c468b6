"""Taking in one claimed file: from its bytes to segments and refused lines."""

from dataclasses import dataclass
from typing import Any

from storage.segments import RowRange, WrittenSegment


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenIn:
    """What became of a source; nothing in the ledger says so yet."""

    source_id: str
    segments: tuple[WrittenSegment, ...]
    ranges: tuple[RowRange, ...]
    """Where its accepted rows lie, in the order of its lines."""
    accepted: int
    rejected: int
    lines_read: int
    """Number of the last line, counted from the beginning of the file."""
    bytes_read: int
    """Offset up to which the file was read; a later growth begins here."""
    content_hash: str
    """xxh3_128 of the raw bytes from the beginning of the file up to `bytes_read`."""
    id_hashes: Any
    """Arrow uint64 array, one a row, in the order of the rows."""
