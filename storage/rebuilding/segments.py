"""Taking segments that the ledger does not know into it again, with their jobs and sources."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from storage.ledger import Ledger, Transaction
from storage.log_files import logs_in
from storage.rebuilding.numbers import destination_number, job_number
from storage.rebuilding.unrecorded import record_from_segment
from storage.segment_reading import segment_metadata
from storage.segment_records import SegmentRecord, read_segment_record
from storage.segments import SOURCE_IDS_KEY, WrittenSegment, segment_path
from storage.sources import ROWS_AN_INSERT, SourceOutcome, insert_lanes
from storage.staging import claimed_sources


def take_in_segments(ledger: Ledger, *, account: str, referenced: Collection[int]) -> int:
    """Take in every segment that the ledger does not know; return how many requests came of it.

    `referenced` are the segments that manifests or results speak of. One without record whose
    source still waits in staging, and of which nobody speaks, was never recorded: the next
    intake writes it anew.
    """
    folder = ledger.directory.segments
    with ledger.transaction() as reader:
        known = {row["segment"] for row in reader.rows("SELECT segment FROM segments")}
    numbers = sorted(int(path.stem) for path in folder.glob("*.parquet") if path.stem.isdecimal())
    waiting = _waiting_sources(ledger)
    return sum(
        _take_in(ledger, number, account, is_spoken_of=number in referenced, waiting=waiting)
        for number in numbers
        if number not in known
    )


def _waiting_sources(ledger: Ledger) -> frozenset[str]:
    directory = ledger.directory
    claimed = (source.source_id for source in claimed_sources(directory))
    return frozenset({*claimed, *(log.source_id for log in logs_in(directory.inbox))})


def _take_in(
    ledger: Ledger, number: int, account: str, *, is_spoken_of: bool, waiting: Collection[str]
) -> int:
    path = segment_path(ledger.directory.segments, number)
    rows, metadata = segment_metadata(path)
    source_ids = metadata.get(SOURCE_IDS_KEY, "").split(",")
    segment = WrittenSegment(number=number, path=path, rows=rows, bytes=path.stat().st_size)
    record = read_segment_record(ledger.directory.segments, number)
    if record is not None and record.source_id not in source_ids:
        record = None  # of an intake that was given up before this one
    if record is None and not is_spoken_of and not set(waiting).isdisjoint(source_ids):
        return 0
    with ledger.transaction() as transaction:
        if record is None:
            record = record_from_segment(transaction, ledger.directory, segment, source_ids)
        return _record(transaction, segment, record, account=record.account or account)


def _record(
    transaction: Transaction, segment: WrittenSegment, record: SegmentRecord, *, account: str
) -> int:
    jobs = {job.job_id: job_number(transaction, job) for job in record.jobs}
    _make_names(transaction, record, jobs)
    insert_lanes(transaction, segment, account)
    left_out = pl.DataFrame({"row_index": record.left_out}, {"row_index": pl.Int64})
    duplicates = pl.DataFrame({"row_index": record.duplicates}, {"row_index": pl.Int64})
    with (
        transaction.table("left_out", left_out),
        transaction.table("duplicates", duplicates),
    ):
        inserted = sum(
            _insert_requests(transaction, segment.number, segment.path, account, first_row)
            for first_row in range(0, segment.rows, ROWS_AN_INSERT)
        )
    for table in ("named", "placed"):
        transaction.execute(f"DROP TABLE {table}")
    _insert_sources(transaction, record, jobs)
    transaction.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
        segment.number, record.source_id, record.part, segment.rows, segment.bytes,
        record.sources[0].taken_in_at,
    )  # fmt: skip
    transaction.execute(
        "UPDATE jobs SET completed_at = NULL WHERE list_contains(?, job_id)", list(jobs.values())
    )
    return inserted


def _make_names(transaction: Transaction, record: SegmentRecord, jobs: dict[int, int]) -> None:
    """Make the tables `named` and `placed`: what job and destination a row of the segment means."""
    transaction.execute("CREATE TEMP TABLE named (job VARCHAR, job_id INTEGER)")
    transaction.execute(
        "CREATE TEMP TABLE placed (job_id INTEGER, config VARCHAR, destination_id INTEGER)"
    )
    for name, job_id in record.job_of_name.items():
        transaction.execute("INSERT INTO named VALUES (?, ?)", name, jobs[job_id])
    numbers = {
        int(number): destination_number(transaction, int(number), config)
        for number, config in record.destinations.items()
    }
    for key, place in record.destination_of.items():
        of_job, _, config = key.partition(" ")
        transaction.execute(
            "INSERT INTO placed VALUES (?, ?, ?)", jobs[int(of_job)], config, numbers[place]
        )


def _insert_requests(
    transaction: Transaction, number: int, path: Path, account: str, first_row: int
) -> int:
    return transaction.execute(
        """
        INSERT INTO requests BY NAME
        SELECT $1::INTEGER AS segment, lines.file_row_number::INTEGER AS row_index, named.job_id,
            lane_id, custom_id, id_hash, payload_hash,
            coalesce(placed.destination_id, 0) AS destination_id,
            wire_bytes, tokens, output_tokens AS expected_output_tokens, embedding_inputs,
            accepted_at::TIMESTAMP AS accepted_at, false AS cancel_requested,
            0 AS attempts, 0 AS returns,
            CASE WHEN duplicates.row_index IS NOT NULL THEN 'obm_duplicate_custom_id'
                WHEN wire_bytes = 0 THEN 'obm_no_longer_valid' END AS error_code,
            CASE WHEN error_code IS NULL THEN 'pending' ELSE 'failed' END AS state,
            CASE WHEN error_code IS NOT NULL THEN lines.accepted_at::TIMESTAMP END AS finished_at
        FROM read_parquet($2, file_row_number = true) AS lines
        JOIN named USING (job)
        JOIN lanes ON lanes.account = $3 AND lanes.endpoint = lines.url
            AND lanes.model = lines.model
        LEFT JOIN placed ON placed.job_id = named.job_id
            AND placed.config = coalesce(lines.delivery_config, '')
        LEFT JOIN duplicates ON duplicates.row_index = lines.file_row_number
        WHERE lines.file_row_number >= $4 AND lines.file_row_number < $5
            AND lines.file_row_number NOT IN (SELECT row_index FROM left_out)
        ORDER BY lines.file_row_number
        """,
        number, path, account, first_row, first_row + ROWS_AN_INSERT,
    )  # fmt: skip


def _insert_sources(transaction: Transaction, record: SegmentRecord, jobs: dict[int, int]) -> None:
    for source in record.sources:
        values: dict[str, Any] = {
            "source_id": source.source_id, "part": source.part, "name": source.name,
            "job_id": None if source.job_id is None else jobs.get(source.job_id),
            "outcome": SourceOutcome.TAKEN_IN, "content_hash": source.content_hash,
            "start_offset": source.start_offset, "end_offset": source.end_offset,
            "end_line": source.end_line, "accepted": source.accepted,
            "rejected": source.rejected, "repeated": source.repeated,
            "taken_in_at": source.taken_in_at,
        }  # fmt: skip
        marks = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        transaction.execute(
            f"INSERT INTO sources ({', '.join(values)}) SELECT {marks} WHERE NOT EXISTS "
            "(SELECT 1 FROM sources WHERE source_id = $1 AND part = $2)",
            *values.values(),
        )
