"""Results of one job as lines, in input order, however many there are by now."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl

from batching.errors import BadInput
from batching.stopping import check_stop
from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.result_files import delivered_line, result_path
from storage.result_reading import read_range
from storage.result_tables import TABLE_COLUMNS, open_table, result_table

WINDOW_BYTES = 8 << 20
"""Results that are in memory at once."""
ROWS_A_LOOK = 100_000
"""Requests whose places are in memory at once."""

_PLACE = ("segment", "row_index")
_LINE = ("id_start", "id_end", "line")
_KEY = ("segment", "row_index", "result_id")

Look: TypeAlias = Callable[[int, int], pl.DataFrame]
"""From the last segment and row that were seen to the places that follow."""


def count_answered(reader: Transaction, job_id: int) -> int:
    """Return how many requests of the job have a result."""
    return int(
        reader.value(
            "SELECT count(*) FROM requests WHERE job_id = ? AND result_id IS NOT NULL", job_id
        )
    )


def answered_after(
    reader: Transaction, job_id: int, segment: int, row_index: int, *, files_only: bool = False
) -> pl.DataFrame:
    """Return where the job's next results lie, in input order, `ROWS_A_LOOK` of them at most.

    With `files_only` those that are pushed somewhere else are left out.
    """
    return reader.frame(
        """
        SELECT segment, row_index, result_id, coalesce(result_bytes, 0)::INTEGER AS size
        FROM requests WHERE job_id = $1 AND result_id IS NOT NULL
            AND (segment > $2 OR (segment = $2 AND row_index > $3))
            AND (NOT $5 OR destination_id = 0)
        ORDER BY segment, row_index LIMIT $4
        """,
        job_id, segment, row_index, ROWS_A_LOOK, files_only,
    )  # fmt: skip


def result_lines(directory: DataDirectory, look: Look) -> Iterator[bytes]:
    """Yield the result lines as they are delivered, newline included, in input order."""
    for window in _windows(look):
        check_stop()
        yield from _delivered(_found(directory, window, (*_PLACE, "custom_id", *_LINE)))


def result_parquet(directory: DataDirectory, look: Look) -> Iterator[bytes]:
    """Yield the results as one Parquet file, in pieces, in input order.

    A piece of it is in memory at a time; the file can be read when its last piece is there.
    """
    sink = _Sink()
    with open_table(sink) as writer:
        for window in _windows(look):
            check_stop()
            if window.height:
                rows = _found(directory, window, (*_PLACE, *TABLE_COLUMNS, *_LINE))
                writer.write_table(result_table(rows, list(_delivered(rows))))
                yield sink.taken()
    yield sink.taken()


class _Sink:
    """Takes what a writer of files writes, and hands it on."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def write(self, piece: bytes) -> int:
        """Keep a piece until it is taken."""
        self._pieces.append(bytes(piece))
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return how much was ever written."""
        return self._written

    def flush(self) -> None:
        """Do nothing: what is written can be taken at once."""

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _windows(look: Look) -> Iterator[pl.DataFrame]:
    """Yield the places in input order, cut so that a window's results fit in memory."""
    for rows in _looks(look):
        windows = rows["size"].cast(pl.Int64).cum_sum() // WINDOW_BYTES
        first = 0
        for length in windows.rle().struct.field("len"):
            yield rows.slice(first, length)
            first += length


def _looks(look: Look) -> Iterator[pl.DataFrame]:
    segment = row_index = -1
    while True:
        rows = look(segment, row_index)
        yield rows
        if rows.height < ROWS_A_LOOK:
            return
        segment, row_index = rows.row(-1)[:2]


def _found(directory: DataDirectory, window: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Fetch the window's results, wherever they lie, in input order."""
    found = pl.concat(
        _read(result_path(directory, int(str(result_id))), rows, columns).with_columns(
            pl.lit(result_id, dtype=pl.Int32).alias("result_id")
        )
        for (result_id,), rows in window.group_by("result_id", maintain_order=True)
    )
    return window.join(found, on=list(_KEY), how="left", maintain_order="left")


def _delivered(rows: pl.DataFrame) -> Iterator[bytes]:
    columns = (rows[name] for name in ("line", "id_start", "id_end", "custom_id"))
    for line, start, end, custom_id in zip(*columns, strict=True):
        yield delivered_line(line, start, end, custom_id) + b"\n"


def _read(path: Path, rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    try:
        return read_range(path, rows, columns)
    except FileNotFoundError:
        raise BadInput(
            f"the result file {path} is missing: put it back, or take the results from the outbox"
        ) from None
