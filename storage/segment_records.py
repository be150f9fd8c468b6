"""What the ledger knows of a segment and the segment does not say, kept beside it.

`segments/000012.json` names the sources, the jobs with their settings, the destinations by
number and the rows that became no request. With it a lost ledger can be rebuilt. It is written
inside the transaction that records the segment, before that ends: a segment without a record is
one that was never recorded, or that an earlier version wrote.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from storage.durable import write_durably
from storage.segments import segment_path

if TYPE_CHECKING:
    from storage.ledger import Ledger, Transaction


class SourceOfSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A source whose lines lie in the segment."""

    source_id: str
    part: int
    name: str
    content_hash: str | None
    start_offset: int
    end_offset: int
    end_line: int
    accepted: int
    rejected: int
    repeated: int
    taken_in_at: datetime
    job_id: int | None = None


class JobOfSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A job of the segment's requests."""

    job_id: int
    name: str
    slug: str
    label: str | None
    endless: bool
    delivery_config: str | None
    max_wait_seconds: float | None
    created_at: datetime


class SegmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed to take a segment into a new ledger."""

    format: int = 1
    installation: str
    account: str
    segment: int
    source_id: str
    part: int
    sources: list[SourceOfSegment]
    jobs: list[JobOfSegment]
    job_of_name: dict[str, int]
    """From what a row of the segment calls its job to the job's id."""
    destinations: dict[str, str]
    """From a destination's number to its text."""
    destination_of: dict[str, int]
    """From the text in a row (`""` where it has none, before it its job's id) to a number."""
    left_out: list[int]
    """Rows that became no request: they repeat earlier ones."""
    duplicates: list[int]
    """Rows that failed at once, because another request has their custom_id."""


def record_path(folder: Path, number: int) -> Path:
    """Return where the record of a segment is kept."""
    return folder / f"{number:06d}.json"


def read_segment_record(folder: Path, number: int) -> SegmentRecord | None:
    """Return the record of a segment; None if there is none that can be read."""
    try:
        text = record_path(folder, number).read_bytes()
        return msgspec.json.decode(text, type=SegmentRecord)
    except (OSError, msgspec.DecodeError):
        return None


def remove_segment(folder: Path, number: int) -> None:
    """Delete a segment and its record."""
    segment_path(folder, number).unlink(missing_ok=True)
    record_path(folder, number).unlink(missing_ok=True)


def write_segment_record(reader: "Transaction", folder: Path, number: int) -> None:
    """Write the record of a segment from what the ledger says about it now."""
    row = reader.row("SELECT source_id, part, rows FROM segments WHERE segment = ?", number)
    if row is None:
        return
    job_of_name, destination_of = _names(reader, segment_path(folder, number), number)
    record = SegmentRecord(
        installation=str(reader.value("SELECT value FROM meta WHERE key = 'installation'")),
        account=str(reader.value(_ACCOUNT, number) or ""),
        segment=number,
        source_id=row["source_id"],
        part=row["part"],
        sources=[SourceOfSegment(**each) for each in reader.rows(_SOURCES, number)],
        jobs=[JobOfSegment(**each) for each in reader.rows(_JOBS, number)],
        job_of_name=job_of_name,
        destinations={
            str(each["destination_id"]): each["config"]
            for each in reader.rows(_DESTINATIONS, number)
        },
        destination_of=destination_of,
        left_out=_rows(reader, _LEFT_OUT, number, row["rows"]),
        duplicates=_rows(reader, _DUPLICATES, number),
    )
    write_durably(record_path(folder, number), msgspec.json.encode(record))


def write_missing_records(ledger: "Ledger") -> int:
    """Write the records of segments that an earlier version has written; return how many."""
    folder = ledger.directory.segments
    with ledger.transaction() as reader:
        rows = reader.rows("SELECT segment FROM segments SEMI JOIN requests USING (segment)")
    missing = [
        row["segment"]
        for row in rows
        if segment_path(folder, row["segment"]).exists()
        and not record_path(folder, row["segment"]).exists()
    ]
    for number in missing:
        with ledger.transaction() as reader:
            write_segment_record(reader, folder, number)
    return len(missing)


def _names(
    reader: "Transaction", segment: Path, number: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Return what job and destination the segment's own words mean."""
    rows = reader.rows(_NAMES, number, segment)
    jobs = {row["job"]: row["job_id"] for row in rows}
    places = {f"{row['job_id']} {row['config'] or ''}": row["destination_id"] for row in rows}
    return jobs, places


def _rows(reader: "Transaction", sql: str, *parameters: object) -> list[int]:
    found: list[Any] = reader.frame(sql, *parameters).to_series().to_list()
    return found


_ACCOUNT = (
    "SELECT account FROM requests JOIN lanes USING (lane_id) WHERE segment = ? "
    "GROUP BY account ORDER BY count(*) DESC LIMIT 1"
)
_SOURCES = """
SELECT source_id, part, name, content_hash, start_offset, end_offset, end_line, accepted,
    rejected, repeated, taken_in_at, job_id
FROM sources WHERE outcome = 'taken_in' AND taken_in_at IN (
    SELECT taken_in_at FROM sources JOIN segments USING (source_id, part) WHERE segment = ?)
ORDER BY source_id, part
"""
"""Whatever is recorded in one transaction has one moment: a file, or all logs of a pass."""
_JOBS = """
SELECT job_id, name, slug, label, endless, delivery_config, max_wait_seconds, created_at
FROM jobs WHERE job_id IN (SELECT job_id FROM requests WHERE segment = ?) ORDER BY job_id
"""
_DESTINATIONS = """
SELECT destination_id, config FROM destinations
WHERE destination_id IN (SELECT destination_id FROM requests WHERE segment = ?)
ORDER BY destination_id
"""
_NAMES = """
SELECT DISTINCT lines.job, requests.job_id, lines.delivery_config AS config, destination_id
FROM requests JOIN read_parquet($2, file_row_number = true) AS lines
    ON lines.file_row_number = requests.row_index
WHERE requests.segment = $1 ORDER BY ALL
"""
_LEFT_OUT = """
SELECT number FROM (SELECT unnest(range($2::BIGINT)) AS number)
WHERE number NOT IN (SELECT row_index FROM requests WHERE segment = $1) ORDER BY number
"""
_DUPLICATES = """
SELECT row_index FROM requests WHERE segment = ? AND error_code = 'obm_duplicate_custom_id'
ORDER BY row_index
"""
