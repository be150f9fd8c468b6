"""Reading rows of a segment back, a row group at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq


def read_rows(
    path: Path, rows: Sequence[int] | Any, columns: Sequence[str] | None = None
) -> Iterator[Any]:
    """Yield the given rows (ascending; a list, NumPy or Arrow array) as Arrow tables.

    Each table holds what lies in one row group, in the order asked for, so memory stays that
    of one row group however many rows are asked for.
    """
    wanted = pl.Series(rows, dtype=pl.Int64)
    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from _read_groups(file, wanted, None if columns is None else list(columns))


def read_all(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the whole segment as Arrow tables, one a row group."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, None if columns is None else list(columns))


def segment_metadata(path: Path) -> tuple[int, dict[str, str]]:
    """Return the number of rows of a segment and its key-value metadata."""
    metadata = pq.read_metadata(path)
    pairs = (metadata.metadata or {}).items()
    return metadata.num_rows, {
        key.decode(): value.decode() for key, value in pairs if key.startswith(b"obm.")
    }


def _read_groups(file: Any, wanted: pl.Series, columns: list[str] | None) -> Iterator[Any]:
    taken = first = 0
    for group in range(file.num_row_groups):
        if taken == len(wanted):
            return
        end = first + file.metadata.row_group(group).num_rows
        until = int(wanted.search_sorted(end))
        if until > taken:
            table = file.read_row_group(group, columns)
            yield _pick(table, wanted.slice(taken, until - taken) - first)
        taken, first = until, end
    if taken != len(wanted):
        raise IndexError(f"row {wanted[taken]} is not in the segment of {first} rows")


def _pick(table: Any, rows: pl.Series) -> Any:
    if rows[-1] - rows[0] + 1 == len(rows):
        return table.slice(rows[0], len(rows))
    return table.take(rows.to_arrow())
