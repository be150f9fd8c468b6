"""Taking sources into the ledger: which job they belong to, what they repeat, what is new."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from batching.destinations import canonical_json
from batching.jobs import DEFAULT_JOB, JobSettings, slug
from storage.destinations import destinations_of_segment, ensure_destinations
from storage.ledger import Ledger, Transaction, now
from storage.repeats import Repeat
from storage.segment_reading import segment_metadata
from storage.segment_records import remove_segment, write_segment_record
from storage.segments import SOURCE_IDS_KEY, WrittenSegment

_LONGEST_NUMBERED = 60
"""Characters of a long name that stay when a number is put behind it."""

ROWS_AN_INSERT = 122_880
"""A row group of the ledger: whole ones go to the disk before the transaction ends."""


class SourceOutcome(StrEnum):
    """What became of a source."""

    TAKEN_IN = "taken_in"
    SEEN_BEFORE = "seen_before"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecord:
    """One pass over a source: a file, or what it has grown by since the last pass."""

    source_id: str
    part: int
    name: str
    content_hash: str
    start_offset: int
    end_offset: int
    end_line: int
    accepted: int
    rejected: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JobChoice:
    """The job that a source joins or begins."""

    name: str
    job_id: int | None
    """None: the job begins with this source."""


def choose_job(ledger: Ledger, *, stem: str, settings: JobSettings, source_id: str) -> JobChoice:
    """Return the job for a source: its label's, or one named after the file.

    Files of one label join one job. A stem that another source has taken gets `-2`, `-3`, ….
    A source that is read on (it has grown) stays with its job.
    """
    with ledger.transaction() as reader:
        known = reader.value(
            "SELECT job_id FROM sources WHERE source_id = ? AND job_id IS NOT NULL", source_id
        )
        if known is not None:
            name = reader.value("SELECT name FROM jobs WHERE job_id = ?", known)
            return JobChoice(name=name, job_id=known)
        taken = {row["name"]: row for row in reader.rows("SELECT name, label, job_id FROM jobs")}
    if settings.label:
        match = next((row for row in taken.values() if row["label"] == settings.label), None)
        if match is not None:
            return JobChoice(name=match["name"], job_id=match["job_id"])
    # The name of the job of the doors is never a file's.
    name = next(free_names(settings.label or stem, {*taken, DEFAULT_JOB}))
    return JobChoice(name=name, job_id=None)


def free_names(wanted: str, taken: set[str]) -> Iterator[str]:
    """Yield the wanted name and numbered ones after it, as far as name and folder are free."""
    slugs = {slug(name) for name in taken}
    if wanted not in taken and slug(wanted) not in slugs:
        yield wanted
    for number in count(2):
        name = _numbered(wanted, number)
        if name not in taken and slug(name) not in slugs:
            yield name


def _numbered(wanted: str, number: int) -> str:
    """Return the name with its number; a long one is cut so that its folder shows the number."""
    whole = f"{wanted}-{number}"
    if slug(whole).endswith(f"{number}"):
        return whole
    return f"{slug(wanted)[:_LONGEST_NUMBERED]}-{number}"


def seen_before(ledger: Ledger, *, content_hash: str, source_id: str) -> str | None:
    """Return the name of the job that took in the same content before, or None."""
    with ledger.transaction() as reader:
        found = reader.value(
            "SELECT jobs.name FROM sources JOIN jobs USING (job_id) "
            "WHERE content_hash = ? AND source_id <> ? AND outcome = ? LIMIT 1",
            content_hash, source_id, SourceOutcome.TAKEN_IN,
        )  # fmt: skip
    return None if found is None else str(found)


def next_segment(ledger: Ledger, folder: Path) -> int:
    """Return a segment number that neither the ledger nor the folder has used."""
    with ledger.transaction() as reader:
        highest = reader.value("SELECT max(segment) FROM segments") or 0
    on_disk = [int(path.stem) for path in folder.glob("*.parquet") if path.stem.isdigit()]
    return max([highest, *on_disk]) + 1


def forget_unrecorded_segments(ledger: Ledger, folder: Path, *, source_id: str) -> int:
    """Delete segments that a crash left before this source was recorded; return how many.

    Others that the ledger does not know stay: after a restore they hold accepted requests.
    """
    with ledger.transaction() as reader:
        recorded = {row["segment"] for row in reader.rows("SELECT segment FROM segments")}
    forgotten = 0
    for path in folder.glob("*.parquet"):
        if not path.stem.isdigit() or int(path.stem) in recorded:
            continue
        if source_id in segment_metadata(path)[1].get(SOURCE_IDS_KEY, "").split(","):
            remove_segment(folder, int(path.stem))
            forgotten += 1
    return forgotten


def record_source(
    ledger: Ledger,
    source: SourceRecord,
    *,
    job: JobChoice,
    settings: JobSettings,
    account: str,
    segments: Sequence[WrittenSegment],
    repeats: Sequence[Repeat],
) -> int:
    """Take the source and its requests into the ledger, all at once; return the job's id.

    Recording the same source and part twice changes nothing.
    """
    with ledger.transaction() as transaction:
        done = transaction.value(
            "SELECT job_id FROM sources WHERE source_id = ? AND part = ?",
            source.source_id, source.part,
        )  # fmt: skip
        if done is not None:
            return int(done)
        job_id = job.job_id if job.job_id is not None else _begin_job(transaction, job, settings)
        left_out = pl.DataFrame(
            {
                "segment": [repeat.segment for repeat in repeats],
                "row_index": [repeat.row_index for repeat in repeats],
            },
            schema={"segment": pl.Int32, "row_index": pl.Int32},
        )
        default = _default_destination(transaction, job_id, settings)
        with transaction.table("left_out", left_out):
            for segment in segments:
                insert_lanes(transaction, segment, account)
                ensure_destinations(transaction, destinations_of_segment(transaction, segment))
                for first_row in range(0, segment.rows, ROWS_AN_INSERT):
                    _insert_requests(
                        transaction, segment, first_row,
                        job_id=job_id, account=account, default=default,
                    )  # fmt: skip
                transaction.execute(
                    "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)",
                    segment.number, source.source_id, source.part,
                    segment.rows, segment.bytes, now(),
                )  # fmt: skip
        _insert_source(
            transaction, source, outcome=SourceOutcome.TAKEN_IN, job_id=job_id,
            repeats=repeats,
        )  # fmt: skip
        for segment in segments:
            write_segment_record(transaction, ledger.directory.segments, segment.number)
        if source.accepted > len(repeats):
            transaction.execute("UPDATE jobs SET completed_at = NULL WHERE job_id = ?", job_id)
        return job_id


def record_unused_source(
    ledger: Ledger, source: SourceRecord, *, outcome: SourceOutcome, reason: str
) -> None:
    """Remember a source from which no request came, and why; twice is as good as once."""
    with ledger.transaction() as transaction:
        known = transaction.value(
            "SELECT count(*) FROM sources WHERE source_id = ? AND part = ? AND outcome = ?",
            source.source_id, source.part, outcome,
        )  # fmt: skip
        if not known:
            _insert_source(transaction, source, outcome=outcome, reason=reason)


def recorded_rejection(ledger: Ledger, source_id: str) -> str | None:
    """Return why the whole source was rejected, if that is recorded."""
    with ledger.transaction() as reader:
        reason = reader.value(
            "SELECT reason FROM sources WHERE source_id = ? AND outcome = ?",
            source_id, SourceOutcome.REJECTED,
        )  # fmt: skip
    return None if reason is None else str(reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a source has been taken in; all zero for a new one."""

    parts: int
    end_offset: int
    end_line: int


def progress_of(ledger: Ledger, source_id: str) -> Progress:
    """Return how far a source has been taken in."""
    with ledger.transaction() as reader:
        row = reader.row(
            "SELECT count(*)::INTEGER AS parts, coalesce(max(end_offset), 0) AS end_offset, "
            "coalesce(max(end_line), 0) AS end_line FROM sources WHERE source_id = ?",
            source_id,
        )
    return Progress(**row) if row else Progress(parts=0, end_offset=0, end_line=0)


def recent_sources(reader: Transaction, *, since: datetime) -> list[dict[str, Any]]:
    """Return the sources taken in since then, with the last byte that was read."""
    return reader.rows(
        "SELECT source_id, any_value(name) AS name, max(end_offset) AS end_offset "
        "FROM sources WHERE outcome = ? GROUP BY source_id HAVING max(taken_in_at) >= ?",
        SourceOutcome.TAKEN_IN, since,
    )  # fmt: skip


def _begin_job(transaction: Transaction, job: JobChoice, settings: JobSettings) -> int:
    job_id = (transaction.value("SELECT max(job_id) FROM jobs") or 0) + 1
    transaction.execute(
        "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, false, ?, ?, ?, NULL, NULL)",
        job_id, job.name, slug(job.name), settings.label, False,
        None if settings.delivery_config is None else canonical_json(settings.delivery_config),
        settings.max_wait_seconds, now(),
    )  # fmt: skip
    transaction.record_move("job", job.name, "open")
    return int(job_id)


def insert_lanes(transaction: Transaction, segment: WrittenSegment, account: str) -> None:
    """Record the lanes of a segment's requests that are not known yet."""
    transaction.execute(
        """
        INSERT INTO lanes
        SELECT (SELECT coalesce(max(lane_id), 0) FROM lanes)
                + row_number() OVER (ORDER BY fresh.url, fresh.model),
            ?, fresh.url, fresh.model, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, false
        FROM (SELECT DISTINCT url, model FROM read_parquet(?)) AS fresh
        WHERE NOT EXISTS (
            SELECT 1 FROM lanes
            WHERE account = ? AND endpoint = fresh.url AND lanes.model = fresh.model)
        """,
        account, segment.path, account,
    )  # fmt: skip


def _default_destination(
    transaction: Transaction, job_id: int, settings: JobSettings
) -> str | None:
    """Return where results go whose requests do not say it: the source's word, then the job's."""
    if settings.delivery_config is not None:
        config = canonical_json(settings.delivery_config)
    else:
        config = transaction.value("SELECT delivery_config FROM jobs WHERE job_id = ?", job_id)
    if config is not None:
        ensure_destinations(transaction, [config])
    return None if config is None else str(config)


def _insert_requests(
    transaction: Transaction,
    segment: WrittenSegment,
    first_row: int,
    *,
    job_id: int,
    account: str,
    default: str | None,
) -> None:
    transaction.execute(
        """
        INSERT INTO requests BY NAME
        SELECT $1 AS segment, fresh.file_row_number AS row_index, $2 AS job_id, lane_id,
            custom_id, id_hash, payload_hash, coalesce(destination_id, 0) AS destination_id,
            wire_bytes, tokens, output_tokens AS expected_output_tokens, embedding_inputs,
            accepted_at::TIMESTAMP AS accepted_at, 'pending' AS state,
            false AS cancel_requested, 0 AS attempts, 0 AS returns
        FROM read_parquet($3, file_row_number = true) AS fresh
        JOIN lanes ON lanes.account = $4 AND lanes.endpoint = fresh.url
            AND lanes.model = fresh.model
        LEFT JOIN destinations ON destinations.config = coalesce(fresh.delivery_config, $7)
        WHERE NOT EXISTS (
            SELECT 1 FROM left_out
            WHERE left_out.segment = $1 AND left_out.row_index = fresh.file_row_number)
            AND fresh.file_row_number >= $5 AND fresh.file_row_number < $6
        ORDER BY fresh.file_row_number
        """,
        segment.number, job_id, segment.path, account, first_row, first_row + ROWS_AN_INSERT,
        default,
    )  # fmt: skip


def _insert_source(
    transaction: Transaction,
    source: SourceRecord,
    *,
    outcome: SourceOutcome,
    job_id: int | None = None,
    repeats: Sequence[Repeat] = (),
    reason: str | None = None,
) -> None:
    replayed = sum(repeat.is_replay for repeat in repeats)
    transaction.execute(
        "INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        source.source_id, source.part, source.name, job_id, outcome, reason,
        source.content_hash, source.start_offset, source.end_offset, source.end_line,
        source.accepted - len(repeats), source.rejected + len(repeats) - replayed, replayed, now(),
    )  # fmt: skip
