"""Accepted lines without a request, told apart from repeats and from what retention forgot.

How many lines each pass accepted is recorded, so a loss shows as a sum. Retention forgets only
requests whose result was recorded: a missing row is excused if a result file holds its answer,
or, where result files are forgotten too, as long as they had room for it. A job that was never
completed and does end has forgotten nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq
from pyarrow import ArrowException

from batching.jobs import DEFAULT_JOB
from storage.doctor.examination import Examination
from storage.doctor.findings import MOST_IDS, Check, Finding, Kind
from storage.result_files import result_path
from storage.segments import segment_path

_LOST: Final = Kind(
    check=Check.ACCEPTED_LINES,
    code="line_without_request",
    explanation="A line was accepted and has no request any more, though it has no result: it "
    "would never be answered.",
    remedy="Restore the newest copy of the ledger that has it from backups/ (docs/operations.md), "
    "or submit these lines again: their text is in the segment.",
)
_SHORT: Final = """
SELECT taken.taken_in_at, accepted - coalesce(requests, 0) AS lost FROM (
    SELECT taken_in_at, sum(accepted)::BIGINT AS accepted FROM sources
    WHERE outcome = 'taken_in' GROUP BY taken_in_at) AS taken
LEFT JOIN (
    SELECT taken_in_at, count(*) AS requests FROM requests JOIN segments USING (segment)
    JOIN (SELECT DISTINCT source_id, part, taken_in_at FROM sources WHERE outcome = 'taken_in')
        USING (source_id, part)
    GROUP BY taken_in_at) AS held USING (taken_in_at)
WHERE accepted > coalesce(requests, 0) ORDER BY taken.taken_in_at
"""
_SEGMENTS_OF: Final = """
SELECT segment, rows FROM segments
JOIN (SELECT DISTINCT source_id, part FROM sources
    WHERE taken_in_at = ? AND outcome = 'taken_in') USING (source_id, part)
ORDER BY segment
"""
_JOBS: Final = """
SELECT job_id, name, label, endless, endless OR completed_at IS NOT NULL OR EXISTS (
    SELECT 1 FROM transitions WHERE entity = 'job' AND entity_id = name AND target = 'completed')
    AS forgets
FROM jobs
"""
_FORGOTTEN: Final = """
SELECT result_id, rows - coalesce(held, 0) AS gone FROM results LEFT JOIN (
    SELECT result_id, count(*) AS held FROM requests GROUP BY result_id) USING (result_id)
WHERE rows > coalesce(held, 0)
"""
_KEY: Final = ["segment", "row_index"]
_ID: Final = pl.struct(pl.col("job_id").cast(pl.Int32), "custom_id").hash().alias("id")
"""Of a job's custom_id: as a number, so that many fit into memory."""


@dataclass(slots=True)
class _Losses:
    """What has no request and no excuse so far."""

    certain: pl.DataFrame
    doubtful: pl.DataFrame
    certain_count: int = 0
    doubtful_count: int = 0


def find_lost_lines(examination: Examination) -> Iterator[Finding]:
    """Yield accepted lines whose request is gone."""
    short = examination.reader.rows(_SHORT)
    if not short:
        return
    gone = examination.reader.frame(_FORGOTTEN)
    answered = _answered_rows(examination, gone["result_id"].to_list())
    losses = _Losses(certain=_nothing(), doubtful=_nothing())
    for group in short:
        _look_at(examination, group, answered, losses)
    room = sum(
        rows
        for result_id, rows in gone.iter_rows()
        if not result_path(examination.directory, result_id).exists()
    )
    rows, count = losses.certain, losses.certain_count
    if losses.doubtful_count > room:
        rows, count = pl.concat([rows, losses.doubtful]), count + losses.doubtful_count
    if count:
        yield _LOST.found(_ids(examination, rows), count=count)


def _look_at(
    examination: Examination, group: dict[str, Any], answered: pl.DataFrame, losses: _Losses
) -> None:
    """Share what a pass has lost out among what is certain and what retention may have done."""
    segments = examination.reader.rows(_SEGMENTS_OF, group["taken_in_at"])
    missing = pl.concat(
        [_nothing(), *(_missing_rows(examination, row["segment"]) for row in segments)]
    )
    excused = missing.join(answered, on=_KEY, how="semi").height
    # A line that repeats a forgotten one was never counted as accepted, so it is no loss.
    unexcused = missing.join(answered, on=_KEY, how="anti").join(answered, on="id", how="anti")
    certain = unexcused.filter(~pl.col("forgets"))
    losses.certain = pl.concat([losses.certain, certain]).head(MOST_IDS)
    lost = max(0, group["lost"] - excused)
    certain_count = min(certain.height, lost)
    losses.certain_count += certain_count
    doubtful = unexcused.filter(pl.col("forgets"))
    losses.doubtful = pl.concat([losses.doubtful, doubtful]).head(MOST_IDS)
    losses.doubtful_count += lost - certain_count


def _missing_rows(examination: Examination, segment: int) -> pl.DataFrame:
    """Return the rows of a segment that have no request and repeat none."""
    path = segment_path(examination.directory.segments, segment)
    try:
        lines = pl.DataFrame(pq.read_table(path, columns=["job", "custom_id"]))
    except (OSError, ArrowException):
        return _nothing()
    reader = examination.reader
    held = reader.frame("SELECT row_index FROM requests WHERE segment = ?", segment)
    rows = lines.with_columns(
        pl.lit(segment, dtype=pl.Int32).alias("segment"),
        pl.int_range(pl.len(), dtype=pl.Int32).alias("row_index"),
    )
    missing = rows.join(held, on="row_index", how="anti")
    owners = _owners(reader.rows(_JOBS))
    with_owner = missing.join(owners, on="job", how="left").with_columns(
        pl.col("forgets").fill_null(value=True)
    )
    with reader.table("missing_lines", with_owner.select("row_index", "custom_id", "job_id")):
        repeats = reader.frame(
            "SELECT DISTINCT row_index FROM missing_lines "
            "SEMI JOIN requests USING (job_id, custom_id)"
        )
    return (
        with_owner.with_columns(_ID)
        .join(repeats, on="row_index", how="anti")
        .unique("row_index", maintain_order=True)
        .select(_nothing().columns)
    )


def _owners(jobs: list[dict[str, Any]]) -> pl.DataFrame:
    """Return which jobs a line can mean by a name; a receiver's is a label, a file's a name."""
    pairs = {
        (name, job["job_id"]): bool(job["forgets"])
        for job in jobs
        for name in (job["name"], job["label"], DEFAULT_JOB if job["endless"] else None)
        if name is not None
    }
    return pl.DataFrame(
        {
            "job": [name for name, _ in pairs],
            "job_id": [job_id for _, job_id in pairs],
            "forgets": list(pairs.values()),
        },
        schema={"job": pl.String, "job_id": pl.Int32, "forgets": pl.Boolean},
    )


def _answered_rows(examination: Examination, result_ids: list[int]) -> pl.DataFrame:
    """Return the rows that these result files answer, as far as the files are there."""
    columns = [*_KEY, "job_id", "custom_id"]
    found = [pl.DataFrame(schema={"segment": pl.Int32, "row_index": pl.Int32, "id": pl.UInt64})]
    for result_id in result_ids:
        path = result_path(examination.directory, result_id)
        try:
            rows = pl.DataFrame(pq.read_table(path, columns=columns))
            found.append(rows.select(*_KEY, _ID))
        except (OSError, ArrowException):
            continue
    return pl.concat(found)


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "segment": pl.Int32,
            "row_index": pl.Int32,
            "custom_id": pl.String,
            "forgets": pl.Boolean,
            "id": pl.UInt64,
        }
    )


def _ids(examination: Examination, rows: pl.DataFrame) -> list[str]:
    return [
        examination.request_id(segment, row_index, custom_id)
        for segment, row_index, custom_id in rows.sort(_KEY)
        .select("segment", "row_index", "custom_id")
        .head(MOST_IDS)
        .iter_rows()
    ]
