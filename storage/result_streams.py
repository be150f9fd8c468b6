"""Results of one job as lines, in input order, however many there are by now."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from batching.errors import BadInput
from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.result_files import delivered_line, result_path

_WINDOW_BYTES = 16 << 20
"""Results that are in memory at once."""
_KEY = ("segment", "row_index", "result_id")


def answered_requests(reader: Transaction, job_id: int) -> pl.DataFrame:
    """Return where the job's results lie, in input order, cut into slices that fit in memory."""
    return reader.frame(
        """
        SELECT segment, row_index, result_id,
            (sum(coalesce(result_bytes, 0)::BIGINT) OVER (
                ORDER BY segment, row_index ROWS UNBOUNDED PRECEDING) // ?)::INTEGER AS slice
        FROM requests WHERE job_id = ? AND result_id IS NOT NULL ORDER BY segment, row_index
        """,
        _WINDOW_BYTES, job_id,
    )  # fmt: skip


def result_lines(directory: DataDirectory, answered: pl.DataFrame) -> Iterator[bytes]:
    """Yield the result lines of these requests as they are delivered, newline included."""
    for _, window in answered.group_by("slice", maintain_order=True):
        yield from _lines(directory, window)


def _lines(directory: DataDirectory, window: pl.DataFrame) -> Iterator[bytes]:
    found = pl.concat(
        _answers(result_path(directory, result_id), result_id, window)
        for result_id in window["result_id"].unique(maintain_order=True)
    )
    ordered = window.join(found, on=_KEY, how="left", maintain_order="left")
    columns = (ordered[name] for name in ("line", "id_start", "id_end", "custom_id"))
    for line, start, end, custom_id in zip(*columns, strict=True):
        yield delivered_line(line, start, end, custom_id) + b"\n"


def _answers(path: Path, result_id: int, window: pl.DataFrame) -> pl.DataFrame:
    """Read the rows of the window's range; Parquet's statistics leave out other row groups."""
    segments = window["segment"]
    inside = pl.col("segment").is_between(segments.min(), segments.max())
    if segments.min() == segments.max():
        rows = window["row_index"]
        inside &= pl.col("row_index").is_between(rows.min(), rows.max())
    columns = ("segment", "row_index", "custom_id", "id_start", "id_end", "line")
    named = pl.lit(result_id, dtype=pl.Int32).alias("result_id")
    try:
        return pl.scan_parquet(path).filter(inside).select(*columns, named).collect()
    except FileNotFoundError:
        raise BadInput(
            f"the result file {path} is missing: put it back, or take the results from the outbox"
        ) from None
