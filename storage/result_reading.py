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
    """The first and the last request wanted, as (segment, row)."""

    first: tuple[int, int]
    last: tuple[int, int]

    @classmethod
    def of(cls, requests: pl.DataFrame) -> Self:
        places = requests.select("segment", "row_index").sort("segment", "row_index")
        return cls(first=places.row(0), last=places.row(-1))

    def may_be_in(self, group: Any) -> bool:
        """Return whether a row group can hold one of the requests, by its statistics.

        Compared as pairs: where a window passes from one segment to the next, its rows alone
        would fit every group of both.
        """
        segments, rows = (group.column(column).statistics for column in (0, 1))
        if not all(known is not None and known.has_min_max for known in (segments, rows)):
            return True
        return (segments.min, rows.min) <= self.last and (segments.max, rows.max) >= self.first


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
