"""Recording receivers' logs in the ledger: all of a pass in one transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from batching.jobs import DEFAULT_JOB, slug
from storage.destinations import destinations_of_segment, ensure_destinations
from storage.ledger import Ledger, Transaction, now
from storage.log_files import LogFile
from storage.log_intake import TakenLogs
from storage.segment_reading import segment_metadata
from storage.segment_records import remove_segment, write_segment_record
from storage.segments import SOURCE_IDS_KEY, WrittenSegment
from storage.sources import ROWS_AN_INSERT, SourceOutcome, free_names, insert_lanes

_ROW_BITS: Final = 32
_FRESH: Final = "fresh (segment INTEGER, row_index INTEGER, job_id INTEGER, id_hash UBIGINT)"
_SUSPECT_ROWS: Final = (
    "suspect_rows (job_id INTEGER, custom_id VARCHAR, payload_hash UBIGINT, segment INTEGER, "
    "row_index INTEGER, is_fresh BOOLEAN)"
)
_SUSPECTS: Final = """
SELECT job_id, id_hash FROM fresh GROUP BY ALL HAVING count(*) > 1
UNION
SELECT job_id, id_hash FROM requests SEMI JOIN fresh USING (job_id, id_hash)
"""
_REPEATS: Final = """
SELECT segment, row_index, of_same > 1 AS same_payload FROM (
    SELECT *,
        row_number() OVER (PARTITION BY job_id, custom_id, payload_hash
                           ORDER BY is_fresh, segment, row_index) AS of_same,
        row_number() OVER (PARTITION BY job_id, custom_id
                           ORDER BY is_fresh, segment, row_index) AS of_all
    FROM suspect_rows)
WHERE is_fresh AND of_all > 1
"""
"""Of the rows of one id the first counts; rows of the ledger were before all new ones."""
_LAST_FLUSH_OF_ALL: Final = (
    "SELECT max(happened_at) FROM transitions "
    "WHERE entity = 'job' AND entity_id = '*' AND target = 'flushed'"
)
"""Requests received before it shall go, though their job was not known yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedLogs:
    """What a pass over receivers' logs brought."""

    accepted: int
    conflicts: int
    """Of the accepted: requests that failed at once, because another has their custom_id."""
    repeated: int
    rejected: int


def recorded_logs(ledger: Ledger, logs: Sequence[LogFile]) -> frozenset[str]:
    """Return the source ids of those logs that the ledger holds already."""
    names = pl.DataFrame({"source_id": [log.source_id for log in logs]}, {"source_id": pl.String})
    with ledger.transaction() as reader, reader.table("asked", names):
        rows = reader.rows(
            "SELECT DISTINCT source_id FROM sources SEMI JOIN asked USING (source_id)"
        )
    return frozenset(row["source_id"] for row in rows)


def forget_unrecorded_segments_of(ledger: Ledger, folder: Path, source_ids: Collection[str]) -> int:
    """Delete segments that a crash left before these logs were recorded; return how many."""
    with ledger.transaction() as reader:
        recorded = {row["segment"] for row in reader.rows("SELECT segment FROM segments")}
    forgotten = 0
    for path in folder.glob("*.parquet"):
        if not path.stem.isdigit() or int(path.stem) in recorded:
            continue
        of_path = segment_metadata(path)[1].get(SOURCE_IDS_KEY, "").split(",")
        if not set(source_ids).isdisjoint(of_path):
            remove_segment(folder, int(path.stem))
            forgotten += 1
    return forgotten


def record_logs(ledger: Ledger, taken: TakenLogs, *, account: str) -> RecordedLogs:
    """Take the requests of the logs into the ledger, all at once.

    A request whose id its job has already with the same payload is left out as a repeat; one
    with another payload is recorded as failed, so that its sender gets a result that says so;
    so is one that cannot be sent.
    """
    with ledger.transaction() as transaction:
        _name_jobs(transaction, taken.jobs)
        _find_repeats(transaction, taken.segments)
        for segment in taken.segments:
            _record_segment(transaction, segment, taken.logs[0].log.source_id, account)
        repeated = _repeats_a_log(transaction, taken)
        _record_sources(transaction, taken, repeated)
        for segment in taken.segments:
            write_segment_record(transaction, ledger.directory.segments, segment.number)
        transaction.execute(
            "UPDATE jobs SET completed_at = NULL WHERE completed_at IS NOT NULL AND job_id IN "
            "(SELECT job_id FROM fresh ANTI JOIN repeats USING (segment, row_index))"
        )
        conflicts = transaction.value("SELECT count(*) FROM repeats WHERE NOT same_payload")
    return RecordedLogs(
        accepted=sum(log.accepted for log in taken.logs) - sum(repeated),
        conflicts=conflicts,
        repeated=sum(repeated),
        rejected=sum(log.rejected for log in taken.logs),
    )


def _name_jobs(transaction: Transaction, jobs: Iterable[str]) -> None:
    """Make the table `named`: which job the lines mean by a name; begin those that are new."""
    transaction.execute("CREATE TEMP TABLE named (job VARCHAR, job_id INTEGER, config VARCHAR)")
    known = transaction.rows("SELECT job_id, name, label, endless, delivery_config FROM jobs")
    taken = {row["name"] for row in known}
    called = {
        DEFAULT_JOB if row["endless"] else row["label"]: row
        for row in reversed(known)
        if row["endless"] or row["label"] != DEFAULT_JOB
    }
    for job in jobs:
        found = called.get(job) or _begin_job(transaction, job, taken)
        if found["delivery_config"] is not None:
            ensure_destinations(transaction, [found["delivery_config"]])
        transaction.execute(
            "INSERT INTO named VALUES (?, ?, ?)", job, found["job_id"], found["delivery_config"]
        )


def _begin_job(transaction: Transaction, job: str, taken: set[str]) -> dict[str, Any]:
    endless = job == DEFAULT_JOB
    # The name of the job of the doors is nobody else's.
    name = next(free_names(job, taken if endless else {*taken, DEFAULT_JOB}))
    taken.add(name)
    job_id = int(transaction.value("SELECT coalesce(max(job_id), 0) + 1 FROM jobs"))
    transaction.execute(
        "INSERT INTO jobs "
        "(job_id, name, slug, label, endless, paused, created_at, flush_requested_at) "
        f"VALUES (?, ?, ?, ?, ?, false, ?, ({_LAST_FLUSH_OF_ALL}))",
        job_id, name, slug(name), None if endless else job, endless, now(),
    )  # fmt: skip
    transaction.record_move("job", name, "open")
    return {"job_id": job_id, "delivery_config": None}


def _find_repeats(transaction: Transaction, segments: Iterable[WrittenSegment]) -> None:
    """Make the tables `fresh` (all new rows) and `repeats` (those whose id their job has).

    The hashes decide who is suspect; only suspects are compared by their text.
    """
    for table in (_FRESH, _SUSPECT_ROWS):
        transaction.execute(f"CREATE TEMP TABLE {table}")
    for segment in segments:
        transaction.execute(
            "INSERT INTO fresh SELECT ?, file_row_number, job_id, id_hash "
            "FROM read_parquet(?, file_row_number = true) JOIN named USING (job)",
            segment.number, segment.path,
        )  # fmt: skip
    transaction.execute(f"CREATE TEMP TABLE suspects AS {_SUSPECTS}")
    transaction.execute(
        "INSERT INTO suspect_rows "
        "SELECT job_id, custom_id, payload_hash, segment, row_index, false "
        "FROM requests SEMI JOIN suspects USING (job_id, id_hash)"
    )
    for segment in segments:
        transaction.execute(
            "INSERT INTO suspect_rows "
            "SELECT job_id, custom_id, payload_hash, ?, file_row_number, true "
            "FROM read_parquet(?, file_row_number = true) JOIN named USING (job) "
            "SEMI JOIN suspects USING (job_id, id_hash)",
            segment.number, segment.path,
        )  # fmt: skip
    transaction.execute(f"CREATE TEMP TABLE repeats AS {_REPEATS}")


def _record_segment(
    transaction: Transaction, segment: WrittenSegment, source_id: str, account: str
) -> None:
    insert_lanes(transaction, segment, account)
    ensure_destinations(transaction, destinations_of_segment(transaction, segment))
    for first_row in range(0, segment.rows, ROWS_AN_INSERT):
        _insert_requests(transaction, segment, first_row, account)
    transaction.execute(
        "INSERT INTO segments VALUES (?, ?, 1, ?, ?, ?)",
        segment.number, source_id, segment.rows, segment.bytes, now(),
    )  # fmt: skip


def _insert_requests(
    transaction: Transaction, segment: WrittenSegment, first_row: int, account: str
) -> None:
    transaction.execute(
        """
        INSERT INTO requests BY NAME
        SELECT $1::INTEGER AS segment, new.file_row_number::INTEGER AS row_index, named.job_id,
            lane_id, custom_id, id_hash, payload_hash,
            coalesce(destination_id, 0) AS destination_id,
            wire_bytes, tokens, output_tokens AS expected_output_tokens, embedding_inputs,
            accepted_at::TIMESTAMP AS accepted_at, false AS cancel_requested,
            0 AS attempts, 0 AS returns,
            CASE WHEN same_payload IS NOT NULL THEN 'obm_duplicate_custom_id'
                WHEN wire_bytes = 0 THEN 'obm_no_longer_valid' END AS error_code,
            CASE WHEN error_code IS NULL THEN 'pending' ELSE 'failed' END AS state,
            CASE WHEN error_code IS NULL THEN NULL ELSE $6::TIMESTAMP END AS finished_at
        FROM read_parquet($2, file_row_number = true) AS new
        JOIN named ON named.job = new.job
        JOIN lanes ON lanes.account = $3 AND lanes.endpoint = new.url AND lanes.model = new.model
        LEFT JOIN destinations
            ON destinations.config = coalesce(new.delivery_config, named.config)
        LEFT JOIN repeats
            ON repeats.segment = $1 AND repeats.row_index = new.file_row_number
        WHERE same_payload IS NOT TRUE
            AND new.file_row_number >= $4 AND new.file_row_number < $5
        ORDER BY new.file_row_number
        """,
        segment.number, segment.path, account, first_row, first_row + ROWS_AN_INSERT, now(),
    )  # fmt: skip


def _repeats_a_log(transaction: Transaction, taken: TakenLogs) -> list[int]:
    """Return how many lines of each log were left out."""
    left_out = transaction.frame("SELECT segment, row_index FROM repeats WHERE same_payload")
    starts = np.array([(log.first_segment << _ROW_BITS) + log.first_row for log in taken.logs])
    places = _places(left_out["segment"], left_out["row_index"])
    # A log without accepted lines begins where the next one does: the last of them has the row.
    owners = np.searchsorted(starts, places, side="right") - 1
    return [int(count) for count in np.bincount(owners, minlength=len(taken.logs))]


def _places(segments: pl.Series, rows: pl.Series) -> "np.ndarray[Any, np.dtype[np.int64]]":
    places = segments.cast(pl.Int64) * (1 << _ROW_BITS) + rows.cast(pl.Int64)
    return places.to_numpy()


def _record_sources(transaction: Transaction, taken: TakenLogs, repeated: Sequence[int]) -> None:
    logs = taken.logs
    sources = pl.DataFrame(
        {
            "source_id": [log.log.source_id for log in logs],
            "name": [log.log.path.name for log in logs],
            "end_offset": [log.bytes for log in logs],
            "end_line": [log.lines for log in logs],
            "accepted": [log.accepted - left for log, left in zip(logs, repeated, strict=True)],
            "rejected": [log.rejected for log in logs],
            "repeated": list(repeated),
        }
    )
    with transaction.table("new_sources", sources):
        transaction.execute(
            "INSERT INTO sources BY NAME SELECT *, 1 AS part, ? AS outcome, 0 AS start_offset, "
            "? AS taken_in_at FROM new_sources",
            SourceOutcome.TAKEN_IN, now(),
        )  # fmt: skip
