"""Reading a range of requests back from a result file, a row group at a time.

Polars' own Parquet reader would do it too, but costs 30 MB more at the peak of a job's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow.parquet as pq


@dataclass(frozen=True, kw_only=True, slots=True)
class _Range:
    """The lowest and highest segment and row of some requests."""

    segments: tuple[int, int]
    rows: tuple[int, int]

    @classmethod
    def of(cls, requests: pl.DataFrame) -> Self:
        ends = requests.select(
            pl.col("segment").min().alias("first"), pl.col("segment").max().alias("last"),
            pl.col("row_index").min().alias("low"), pl.col("row_index").max().alias("high"),
        ).row(0)  # fmt: skip
        return cls(segments=ends[:2], rows=ends[2:])

    def may_be_in(self, group: Any) -> bool:
        """Return whether a row group can hold one of the requests, by its statistics."""
        statistics = [group.column(column).statistics for column in (0, 1)]
        return all(
            known is None or not known.has_min_max or (known.min <= high and known.max >= low)
            for known, (low, high) in zip(statistics, (self.segments, self.rows), strict=True)
        )


def read_range(path: Path, requests: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return the rows of a result file in the range of these requests, some more among them.

    `requests` has segment and row_index, the first two columns of every result file.
    """
    wanted = _Range.of(requests)
    with pq.ParquetFile(path, pre_buffer=False) as file:
        groups = [
            group
            for group in range(file.num_row_groups)
            if wanted.may_be_in(file.metadata.row_group(group))
        ]
        return pl.DataFrame(file.read_row_groups(groups, list(columns)))
