"""Results in the order in which they were recorded, for consumers that pull them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq

from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.result_files import delivered_line, result_path

PAGE_BYTES: Final = 8 << 20
"""A page ends when its lines reach this size, however few they are."""
_FILES_A_LOOK: Final = 1_000
_COLUMNS: Final = ("job_id", "custom_id", "id_start", "id_end", "line")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedResult:
    """One result and its place in the feed."""

    sequence: int
    row: int
    job: str
    custom_id: str
    line: bytes


def results_after(
    directory: DataDirectory,
    reader: Transaction,
    place: tuple[int, int],
    *,
    most: int,
    job: str | None = None,
) -> list[FeedResult]:
    """Return the results behind the place (sequence, row), at most so many and `PAGE_BYTES`.

    Result files that were forgotten are passed over. A look reads at most so many files, and
    goes on to further ones while they hold nothing that is wanted.
    """
    names = {row["job_id"]: row["name"] for row in reader.rows("SELECT job_id, name FROM jobs")}
    wanted = None if job is None else [number for number, name in names.items() if name == job]
    page: list[FeedResult] = []
    size = 0
    for found in islice(_results(directory, reader, place, names, wanted), most):
        page.append(found)
        size += len(found.line)
        if size >= PAGE_BYTES:
            break
    return page


def last_sequence(reader: Transaction) -> int:
    """Return the number of the result file that was recorded last; 0 before the first."""
    return int(reader.value("SELECT coalesce(max(sequence), 0) FROM results"))


def _results(
    directory: DataDirectory,
    reader: Transaction,
    place: tuple[int, int],
    names: dict[int, str],
    wanted: list[int] | None,
) -> Iterator[FeedResult]:
    sequence, row = place
    while files := _files(reader, sequence, wanted):
        for file in files:
            after = row if file["sequence"] == sequence else -1
            path = result_path(directory, file["result_id"])
            for number, found in _rows(path, after, wanted):
                yield FeedResult(
                    sequence=file["sequence"],
                    row=number,
                    job=names.get(found["job_id"], ""),
                    custom_id=found["custom_id"],
                    line=delivered_line(
                        found["line"], found["id_start"], found["id_end"], found["custom_id"]
                    ),
                )
        sequence, row = files[-1]["sequence"] + 1, -1


def _files(reader: Transaction, sequence: int, wanted: list[int] | None) -> list[dict[str, Any]]:
    """Return the next result files that may hold something that is wanted."""
    return reader.rows(
        "SELECT sequence, result_id FROM results WHERE sequence >= $1 AND ($2::INTEGER[] IS NULL "
        "OR result_id IN (SELECT result_id FROM parts WHERE list_contains($2, job_id) UNION ALL "
        "SELECT result_id FROM deliveries WHERE list_contains($2, job_id))) "
        "ORDER BY sequence LIMIT $3",
        sequence, wanted, _FILES_A_LOOK,
    )  # fmt: skip


def _rows(path: Path, after: int, wanted: list[int] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file behind the row `after` with their numbers, by row groups."""
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except FileNotFoundError:
        return
    with file:
        first = 0
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            if end > after + 1:
                rows = pl.DataFrame(file.read_row_group(group, list(_COLUMNS)))
                for number, row in enumerate(rows.iter_rows(named=True), start=first):
                    if number > after and (wanted is None or row["job_id"] in wanted):
                        yield number, row
            first = end
