"""Giving a lost part its record again: as delivered if its lines stand in the outbox, else anew.

A part may be appended again only if its lines are certainly not there, or its user would have
them twice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from pyarrow import ArrowException

from batching.errors import BadInput
from storage.destinations import FILE
from storage.doctor.duties import LOST_PARTS
from storage.doctor.findings import Check
from storage.ledger import Ledger, Transaction
from storage.result_files import delivered_line, result_path

ACTOR = "doctor"


def rescue_parts(ledger: Ledger) -> tuple[int, list[str]]:
    """Record what was lost; return how many parts, and why others could not be helped.

    The caller owns the delivery of files.
    """
    with ledger.transaction() as reader:
        lost = reader.rows(
            "SELECT lost.job_id, result_id, name, slug, endless, recorded_at, "
            f"strftime(recorded_at, '%Y-%m-%d') AS day FROM ({LOST_PARTS}) AS lost "
            "JOIN jobs USING (job_id) JOIN results USING (result_id) ORDER BY result_id, job_id"
        )
    problems = []
    for part in lost:
        try:
            _rescue(ledger, part)
        except (BadInput, OSError, ArrowException) as error:
            problems.append(f"job {part['name']}, result {part['result_id']}: {error}")
    return len(lost) - len(problems), problems


def _rescue(ledger: Ledger, part: dict[str, Any]) -> None:
    folder = f"{part['slug']}/{part['day']}" if part["endless"] else part["slug"]
    with ledger.transaction() as reader:
        known = _known_places(reader, folder)
    source = result_path(ledger.directory, part["result_id"])
    rows = sum(lines.height for lines in _lines(source, part["job_id"]))
    place = _place_of(ledger.directory.outbox, folder, known, source, part["job_id"])
    with ledger.transaction() as transaction:
        _insert(transaction, part, rows, place)


def _place_of(
    outbox: Path,
    folder: str,
    known: dict[str, list[tuple[int, int]]],
    source: Path,
    job_id: int,
) -> dict[str, object]:
    """Return where the lines stand already, nothing if they do not; BadInput if that is unclear."""
    for file in sorted((outbox / folder).glob("results*.jsonl")):
        if file.name == "results.sorted.jsonl":
            continue
        recorded = known.get(file.name, [])
        for start in _free_starts(recorded):
            end = _end_if_there(file, start, source, job_id)
            if end is not None:
                return {
                    "folder": folder, "file": file.name, "start_offset": start, "end_offset": end,
                }  # fmt: skip
        if not recorded or _has_gap(recorded):
            raise BadInput(f"{file} has bytes that nobody recorded and that are other lines")
    return {}


def _known_places(transaction: Transaction, folder: str) -> dict[str, list[tuple[int, int]]]:
    places: dict[str, list[tuple[int, int]]] = {}
    for row in transaction.rows(
        "SELECT file, start_offset, end_offset FROM parts WHERE folder = ? "
        "AND state = 'delivered' ORDER BY file, start_offset",
        folder,
    ):
        places.setdefault(row["file"], []).append((row["start_offset"], row["end_offset"]))
    return places


def _free_starts(places: list[tuple[int, int]]) -> Iterator[int]:
    """Yield where bytes begin that no part has recorded."""
    expected = 0
    for start, end in places:
        if start != expected:
            yield expected
        expected = end
    yield expected


def _has_gap(places: list[tuple[int, int]]) -> bool:
    return sum(1 for _ in _free_starts(places)) > 1


def _end_if_there(file: Path, start: int, source: Path, job_id: int) -> int | None:
    """Return where the job's lines of a result file end if they stand at this place."""
    with file.open("rb") as lines:
        lines.seek(start)
        for rows in _lines(source, job_id):
            columns = (rows[name].to_list() for name in ("line", "id_start", "id_end", "custom_id"))
            wanted = b"".join(
                delivered_line(line, first, last, custom_id) + b"\n"
                for line, first, last, custom_id in zip(*columns, strict=True)
            )
            if lines.read(len(wanted)) != wanted:
                return None
        return lines.tell()


def _lines(source: Path, job_id: int) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(source, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            rows = pl.DataFrame(file.read_row_group(group))
            if "destination_id" in rows.columns:
                rows = rows.filter(pl.col("destination_id") == FILE)
            yield rows.filter(pl.col("job_id") == job_id)


def _insert(
    transaction: Transaction, part: dict[str, Any], rows: int, place: dict[str, object]
) -> None:
    state = "delivered" if place else "pending"
    transaction.execute(
        """
        INSERT INTO parts BY NAME SELECT
            (SELECT coalesce(max(part_id), 0) + 1 FROM parts) AS part_id,
            $1::INTEGER AS job_id, $2::INTEGER AS result_id, $3 AS state, $4::INTEGER AS rows,
            $5::TIMESTAMP AS created_at, 0 AS attempts, $6 AS folder, $7 AS file,
            $8::BIGINT AS start_offset, $9::BIGINT AS end_offset,
            CASE WHEN $3 = 'delivered' THEN $5::TIMESTAMP END AS delivered_at
        """,
        part["job_id"], part["result_id"], state, rows, part["recorded_at"],
        place.get("folder"), place.get("file"), place.get("start_offset"), place.get("end_offset"),
    )  # fmt: skip
    if state == "pending":
        transaction.execute("UPDATE jobs SET completed_at = NULL WHERE job_id = ?", part["job_id"])
    transaction.record_move(
        "job", part["name"], f"part {state} again", actor=ACTOR,
        reason=f"{Check.DELIVERIES.value}: result {part['result_id']}, {rows} results",
    )  # fmt: skip
