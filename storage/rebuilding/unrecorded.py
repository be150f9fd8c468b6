"""Segments of an earlier version, which have no record beside them: what can be told without.

Jobs keep their names, and their numbers as far as results say them; a request goes where its
own line says, else to files. Of lines with one custom_id in one job the first is the request.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from batching.jobs import DEFAULT_JOB, slug
from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.segment_records import JobOfSegment, SegmentRecord, SourceOfSegment
from storage.segments import WrittenSegment


def record_from_segment(
    transaction: Transaction,
    directory: DataDirectory,
    segment: WrittenSegment,
    source_ids: Sequence[str],
) -> SegmentRecord:
    """Return what a segment without record tells about itself."""
    jobs = _jobs(transaction, directory, segment)
    configs = transaction.rows(
        "SELECT DISTINCT job, delivery_config AS config FROM read_parquet(?) ORDER BY ALL",
        segment.path,
    )
    numbers = _destination_numbers(transaction, [row["config"] for row in configs])
    left_out = _left_out(transaction, segment, jobs)
    number_of_name = {job.name: job.job_id for job in jobs}
    return SegmentRecord(
        installation="",
        account="",
        segment=segment.number,
        source_id=source_ids[0],
        part=_part(transaction, source_ids[0]),
        sources=_sources(transaction, directory, segment, source_ids, len(left_out)),
        jobs=jobs,
        job_of_name=number_of_name,
        destinations={str(number): config for config, number in numbers.items()},
        destination_of={
            f"{number_of_name[row['job']]} {row['config']}": numbers[row["config"]]
            for row in configs
            if row["config"] is not None
        },
        left_out=left_out,
        duplicates=[],
    )


def _jobs(
    transaction: Transaction, directory: DataDirectory, segment: WrittenSegment
) -> list[JobOfSegment]:
    rows = transaction.rows(
        "SELECT job, min(accepted_at)::TIMESTAMP AS created_at FROM read_parquet(?) "
        "GROUP BY job ORDER BY job",
        segment.path,
    )
    known = _numbers_in_results(transaction, directory, segment)
    fresh = 1 + max(
        int(transaction.value("SELECT coalesce(max(job_id), 0) FROM jobs")),
        _highest_in_results(transaction, directory),
    )
    return [
        JobOfSegment(
            job_id=known.get(row["job"], fresh + place), name=row["job"], slug=slug(row["job"]),
            label=None, endless=row["job"] == DEFAULT_JOB, delivery_config=None,
            max_wait_seconds=None, created_at=row["created_at"],
        )
        for place, row in enumerate(rows)
    ]  # fmt: skip


def _results(directory: DataDirectory) -> list[str]:
    return [str(path) for path in sorted(directory.results.glob("*.parquet"))]


def _numbers_in_results(
    transaction: Transaction, directory: DataDirectory, segment: WrittenSegment
) -> dict[str, int]:
    if not _results(directory):
        return {}
    rows = transaction.rows(
        "SELECT lines.job, any_value(answers.job_id) AS job_id "
        "FROM read_parquet($1, union_by_name = true) AS answers "
        "JOIN read_parquet($2, file_row_number = true) AS lines "
        "ON answers.segment = $3 AND answers.row_index = lines.file_row_number GROUP BY lines.job",
        _results(directory), segment.path, segment.number,
    )  # fmt: skip
    return {row["job"]: row["job_id"] for row in rows}


def _highest_in_results(transaction: Transaction, directory: DataDirectory) -> int:
    if not _results(directory):
        return 0
    highest = transaction.value(
        "SELECT max(job_id) FROM read_parquet($1, union_by_name = true)", _results(directory)
    )
    return int(highest or 0)


def _destination_numbers(transaction: Transaction, configs: Sequence[str | None]) -> dict[str, int]:
    first = 1 + int(transaction.value("SELECT max(destination_id) FROM destinations"))
    named = sorted({config for config in configs if config is not None})
    return {config: first + place for place, config in enumerate(named)}


def _left_out(
    transaction: Transaction, segment: WrittenSegment, jobs: Sequence[JobOfSegment]
) -> list[int]:
    """Return the rows whose id their job has already."""
    names = [job.name for job in jobs]
    rows = transaction.frame(
        """
        SELECT file_row_number FROM (
            SELECT file_row_number, job, custom_id,
                row_number() OVER (PARTITION BY job, custom_id ORDER BY file_row_number) AS place
            FROM read_parquet($1, file_row_number = true))
        WHERE place > 1 OR (job, custom_id) IN (
            SELECT (name, custom_id) FROM requests JOIN jobs USING (job_id)
            WHERE list_contains($2, name))
        ORDER BY file_row_number
        """,
        segment.path, names,
    )  # fmt: skip
    found: list[int] = rows.to_series().to_list()
    return found


def _part(transaction: Transaction, source_id: str) -> int:
    return 1 + int(transaction.value("SELECT count(*) FROM sources WHERE source_id = ?", source_id))


def _sources(
    transaction: Transaction,
    directory: DataDirectory,
    segment: WrittenSegment,
    source_ids: Sequence[str],
    left_out: int,
) -> list[SourceOfSegment]:
    moment = datetime.fromtimestamp(segment.path.stat().st_mtime, UTC)
    return [
        SourceOfSegment(
            source_id=source_id, part=_part(transaction, source_id),
            name=_name(directory, source_id), content_hash=None, start_offset=0,
            end_offset=_size(directory, source_id), end_line=0,
            accepted=segment.rows - left_out if place == 0 else 0, rejected=0,
            repeated=left_out if place == 0 else 0, taken_in_at=moment,
        )
        for place, source_id in enumerate(source_ids)
    ]  # fmt: skip


def _name(directory: DataDirectory, source_id: str) -> str:
    found = sorted(directory.archive.glob(f"{source_id}__*"), key=lambda path: len(path.name))
    return found[0].name.partition("__")[2] if found else source_id


def _size(directory: DataDirectory, source_id: str) -> int:
    """Return how much of an archived source was read: all of it, or it would be read again."""
    return max(
        (path.stat().st_size for path in directory.archive.glob(f"{source_id}__*")), default=0
    )
