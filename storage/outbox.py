"""The outbox: results as files, exactly one line for every accepted request.

A part (the results of one batch for one job) is appended to the job's `results.jsonl`, then
recorded with its offsets. What lies behind the last recorded offset comes from a crash and is
cut off before anything is appended, so no line is ever there twice.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from pyarrow import ArrowException

from batching.errors import BadInput
from batching.retry import growing_pause_seconds
from batching.stopping import check_stop
from storage.destinations import FILE
from storage.directory import DataDirectory
from storage.durable import disk_errors, sync_folder, written_durably
from storage.ledger import Ledger, Transaction, now
from storage.result_files import delivered_line, result_path
from storage.result_tables import open_table, result_table
from storage.waits import is_due_sql

HELD_UNTIL = "9999-01-01"
"""When a part is due that must not be delivered before somebody has found out where it belongs."""

FIRST_FILE = "results.jsonl"
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0

_IS_DUE = is_due_sql("next_attempt_at", "$1", longest_seconds=LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The results of one result file that belong to one job."""

    part_id: int
    job_id: int
    result_id: int
    rows: int
    job: str
    slug: str
    endless: bool
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where results of a job go next: behind everything that was recorded."""

    folder: str
    file: str
    offset: int


def pending_parts(reader: Transaction, *, most: int) -> list[Part]:
    """Return parts that are to be delivered, oldest first."""
    rows = reader.rows(
        f"""
        SELECT part_id, parts.job_id, result_id, rows, name AS job, slug, endless,
            parts.created_at
        FROM parts JOIN jobs USING (job_id)
        WHERE state = 'pending' AND {_IS_DUE}
            AND next_attempt_at IS DISTINCT FROM '{HELD_UNTIL}'
        ORDER BY part_id LIMIT $2
        """,
        now(), most,
    )  # fmt: skip
    return [Part(**row) for row in rows]


def deliver_part(ledger: Ledger, part: Part) -> int:
    """Append a part to its job's results, write its Parquet file, record both.

    Returns the bytes appended. Nobody else may deliver to the same job meanwhile. BadInput says
    which file stands in the way; other parts can still be delivered.
    """
    directory = ledger.directory
    with ledger.transaction() as transaction:
        place = _begin(transaction, directory, part)
    folder = directory.outbox / place.folder
    try:
        with disk_errors(folder):
            (folder / "parts").mkdir(parents=True, exist_ok=True)
        end = _append(folder, place, part, directory)
    except (OSError, ArrowException) as error:
        raise BadInput(f"the results of job {part.job!r} cannot be delivered: {error}") from error
    if place.offset == 0:
        for new_name_in in (folder, *folder.parents[: place.folder.count("/") + 1]):
            sync_folder(new_name_in)
    with ledger.transaction() as transaction:
        transaction.execute(
            """
            UPDATE parts SET state = 'delivered', attempts = attempts + 1,
                end_offset = ?, delivered_at = ?, problem = NULL
            WHERE part_id = ? AND state = 'pending'
            """,
            end, now(), part.part_id,
        )  # fmt: skip
    return end - place.offset


def postpone_part(ledger: Ledger, part: Part, *, problem: str) -> None:
    """Record why a part could not be delivered; it is tried again after a growing pause."""
    with ledger.transaction() as transaction:
        tries = transaction.value("SELECT attempts + 1 FROM parts WHERE part_id = ?", part.part_id)
        pause_seconds = growing_pause_seconds(
            tries, first_seconds=FIRST_PAUSE_SECONDS, longest_seconds=LONGEST_PAUSE_SECONDS
        )
        transaction.execute(
            "UPDATE parts SET attempts = ?, problem = ?, next_attempt_at = ? "
            "WHERE part_id = ? AND state = 'pending'",
            tries, problem, now() + timedelta(seconds=pause_seconds), part.part_id,
        )  # fmt: skip


def _begin(transaction: Transaction, directory: DataDirectory, part: Part) -> Place:
    """Choose where the part goes and record that before a byte is written there.

    Only what was recorded is ever cut off: a file that this ledger knows nothing of, as after
    its loss, stays as it is and is followed by the next number.
    """
    # Not today's day: a delivery that is done again after midnight must find what it left.
    folder = f"{part.slug}/{_day(part.created_at)}" if part.endless else part.slug
    ends = {
        row["file"]: row["end_offset"]
        for row in transaction.rows(
            "SELECT file, max(coalesce(end_offset, start_offset)) AS end_offset FROM parts "
            "WHERE folder = ? AND file IS NOT NULL GROUP BY file",
            folder,
        )
    }
    number = max(map(file_number, ends), default=1)
    recorded = ends.get(_file_name(number))
    if recorded is None or max(_size(directory.outbox / folder / _file_name(number)), 0) < recorded:
        # The user took the file away, or cut it: it is theirs now, we begin a new one.
        number, recorded = _unused_number(directory.outbox / folder, number, known=ends), 0
    place = Place(folder=folder, file=_file_name(number), offset=recorded)
    transaction.execute(
        "UPDATE parts SET folder = ?, file = ?, start_offset = ? "
        "WHERE part_id = ? AND state = 'pending'",
        place.folder, place.file, place.offset, part.part_id,
    )  # fmt: skip
    return place


def _unused_number(folder: Path, first: int, *, known: Collection[str]) -> int:
    number = first
    while _file_name(number) in known or _size(folder / _file_name(number)) > 0:
        number += 1
    return number


def _append(folder: Path, place: Place, part: Part, directory: DataDirectory) -> int:
    path = folder / place.file
    part_name = f"part-{part_label(part.result_id)}.parquet"
    with (
        disk_errors(path),
        path.open("ab") as results,
        written_durably(folder / "parts" / part_name) as part_file,
    ):
        results.truncate(place.offset)
        results.seek(place.offset)
        with open_table(part_file) as writer:
            for rows in rows_of_part(result_path(directory, part.result_id), part.job_id):
                lines = delivered_lines(rows)
                results.writelines(lines)
                writer.write_table(result_table(rows, lines))
        results.flush()
        os.fsync(results.fileno())
        return results.tell()


def rows_of_part(path: Path, job_id: int) -> Iterator[pl.DataFrame]:
    """Yield the job's results; in Polars, as Arrow's functions would take memory of their own."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            check_stop()
            rows = pl.DataFrame(file.read_row_group(group))
            mine = rows.filter(_goes_to_file(rows) & (pl.col("job_id") == job_id))
            if mine.height:
                yield mine


def _goes_to_file(rows: pl.DataFrame) -> pl.Expr:
    """Return which results go to files: all of those of an earlier version."""
    has_destinations = "destination_id" in rows.columns
    return pl.col("destination_id") == FILE if has_destinations else pl.lit(True)


def delivered_lines(rows: pl.DataFrame) -> list[bytes]:
    """Return these rows of a result file as the lines that are delivered."""
    columns = (rows[name].to_list() for name in ("line", "id_start", "id_end", "custom_id"))
    return [
        delivered_line(line, start, end, custom_id) + b"\n"
        for line, start, end, custom_id in zip(*columns, strict=True)
    ]


def part_label(result_id: int) -> str:
    """Return what a part's Parquet file is called after."""
    return f"{result_id:06d}" if result_id >= 0 else f"own-{-result_id:06d}"


def _file_name(number: int) -> str:
    return FIRST_FILE if number == 1 else f"results-{number}.jsonl"


def file_number(file: str) -> int:
    """Return the how-manieth file of its folder this is."""
    return int(file.removeprefix("results").removeprefix("-").removesuffix(".jsonl") or 1)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d")
