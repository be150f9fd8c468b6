"""What every check works on: one view of the ledger, and the data directory beside it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from batching.wire import RequestRef, encode_wire_id
from storage.directory import DataDirectory
from storage.doctor.findings import MOST_IDS, Finding, Kind
from storage.ledger import Transaction

REQUEST_ID: Final = (
    "(SELECT value FROM meta WHERE key = 'installation') "
    "|| '-' || requests.segment || '-' || requests.row_index || ' ' || requests.custom_id"
)
"""How a request is called in findings: its wire id and the user's id."""
ROWS_A_LOOK: Final = 250_000
"""Rows of the ledger that are in memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """One examination; the ledger does not change during it, the folders may."""

    reader: Transaction
    directory: DataDirectory
    installation: str
    at: datetime
    """When the view of the ledger was taken: what is newer belongs to work in progress."""
    patience_seconds: float
    """How old a file must be before somebody must own it."""
    notes: list[str] = field(default_factory=list)

    def is_settled(self, path: Path) -> bool:
        """Return whether a file has lain there long enough not to be work in progress."""
        try:
            status = path.stat()
        except OSError:  # it has gone away meanwhile
            return False
        newest = max(status.st_mtime, status.st_ctime)
        return newest <= self.at.timestamp() - self.patience_seconds

    def request_id(self, segment: int, row_index: int, custom_id: str = "") -> str:
        """Return how a request is called in findings."""
        wire_id = encode_wire_id(self.installation, RequestRef(segment=segment, row=row_index))
        return f"{wire_id} {custom_id}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A kind of fault that one query finds; the query gives the column `id`."""

    kind: Kind
    sql: str


def apply(reader: Transaction, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Yield what the queries find."""
    for rule in rules:
        rows = reader.rows(
            f"SELECT id::VARCHAR AS id, count(*) OVER () AS found FROM ({rule.sql}) "
            f"ORDER BY ALL LIMIT {MOST_IDS}"
        )
        if rows:
            yield rule.kind.found([row["id"] for row in rows], count=rows[0]["found"])


def ranges(counts: pl.DataFrame, *, most: int = ROWS_A_LOOK) -> Iterator[tuple[int, int]]:
    """Cut numbers (first column, ascending) into ranges of at most so many rows (second column).

    A number with more rows than that is a range of its own.
    """
    first: int | None = None
    last, total = 0, 0
    for number, rows in counts.iter_rows():
        if first is not None and total + rows > most:
            yield first, last
            first, total = None, 0
        first = number if first is None else first
        last, total = number, total + rows
    if first is not None:
        yield first, last


def request_ids(examination: Examination, rows: pl.DataFrame) -> Sequence[str]:
    """Return how these requests (segment, row_index, custom_id) are called in findings."""
    columns = rows.head(MOST_IDS).select("segment", "row_index", "custom_id")
    return [
        examination.request_id(segment, row, custom_id or "")
        for segment, row, custom_id in columns.iter_rows()
    ]
