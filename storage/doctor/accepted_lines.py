"""Each accepted line has exactly one request, and each request is the line that was accepted.

A row of a segment has no request if it repeats an earlier one (then its source has not counted
it as accepted), or if retention has forgotten it.
"""

from collections.abc import Iterator
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq
from pyarrow import ArrowException

from storage.doctor.examination import REQUEST_ID, Examination, Rule, apply, ranges, request_ids
from storage.doctor.findings import MOST_IDS, Check, Finding, Kind
from storage.doctor.lost_lines import find_lost_lines
from storage.segments import segment_path

_RESTORE: Final = (
    "Restore the newest copy of the ledger that is right from backups/ (docs/operations.md); "
    "segments/ holds every accepted line."
)
_FROM_BACKUP: Final = (
    "Put the file back from a backup of the data directory. Requests of it that wait cannot be "
    "sent until then; `obm cancel JOB` ends them."
)


def _kind(code: str, explanation: str, remedy: str = _RESTORE) -> Kind:
    return Kind(check=Check.ACCEPTED_LINES, code=code, explanation=explanation, remedy=remedy)


_RULES: Final = (
    Rule(
        kind=_kind(
            "request_without_line",
            "The request names a row that no segment has, so nobody knows what it asked.",
        ),
        sql=f"SELECT {REQUEST_ID} AS id FROM requests LEFT JOIN segments USING (segment) "
        "WHERE segments.segment IS NULL OR row_index < 0 OR row_index >= segments.rows",
    ),
    Rule(
        kind=_kind(
            "line_with_two_requests",
            "One accepted line has several requests: it would be sent and paid several times.",
        ),
        sql=f"SELECT {REQUEST_ID} AS id FROM requests JOIN (SELECT segment, row_index "
        "FROM requests GROUP BY segment, row_index HAVING count(*) > 1) "
        "USING (segment, row_index) GROUP BY requests.segment, requests.row_index, "
        "requests.custom_id",
    ),
    Rule(
        kind=_kind(
            "more_requests_than_lines",
            "More requests came of this source than it had accepted lines.",
        ),
        # Whatever is recorded in one transaction has one moment: a file, or all logs of a pass.
        sql="""
        SELECT any_value(source_id) AS id FROM (
            SELECT taken_in_at, any_value(source_id) AS source_id, sum(accepted) AS accepted
            FROM sources WHERE outcome = 'taken_in' GROUP BY taken_in_at) AS taken
        JOIN (
            SELECT taken_in_at, count(*) AS requests FROM requests JOIN segments USING (segment)
            JOIN (SELECT DISTINCT source_id, part, taken_in_at FROM sources
                WHERE outcome = 'taken_in') USING (source_id, part)
            GROUP BY taken_in_at) AS held USING (taken_in_at)
        WHERE requests > accepted GROUP BY taken_in_at
        """,
    ),
)

_MISSING: Final = _kind(
    "segment_missing",
    "A segment that requests need is missing or cannot be read: what they asked is lost.",
    _FROM_BACKUP,
)
_CHANGED: Final = _kind(
    "segment_changed",
    "A segment has another number of rows or bytes than were written: it was damaged or replaced.",
    _FROM_BACKUP,
)
_OTHER_LINE: Final = _kind(
    "other_line",
    "The request's row of its segment holds another line than the one that was accepted.",
    _FROM_BACKUP,
)


def check_accepted_lines(examination: Examination) -> Iterator[Finding]:
    """Yield lines and requests that do not belong to each other one to one."""
    yield from apply(examination.reader, _RULES)
    yield from _Segments(examination).check()
    yield from find_lost_lines(examination)


class _Segments:
    """Compares the segments on the disk with the ledger, some at a time."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._missing: list[str] = []
        self._changed: list[str] = []
        self._other: list[str] = []
        self._others = 0

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong with the files."""
        needed = self._examination.reader.frame(
            "SELECT segment, any_value(rows) AS rows, any_value(bytes) AS bytes FROM segments "
            "SEMI JOIN requests USING (segment) GROUP BY segment ORDER BY segment"
        )
        for first, last in ranges(needed.select("segment", "rows")):
            self._compare(needed.filter(pl.col("segment").is_between(first, last)), first, last)
        for kind, ids in ((_MISSING, self._missing), (_CHANGED, self._changed)):
            if ids:
                yield kind.found(ids)
        if self._other:
            yield _OTHER_LINE.found(self._other, count=self._others)

    def _compare(self, segments: pl.DataFrame, first: int, last: int) -> None:
        lines = [self._lines(row) for row in segments.iter_rows(named=True)]
        there = pl.concat([found for found in lines if found is not None] or [_no_lines()])
        requests = self._examination.reader.frame(
            "SELECT segment, row_index, custom_id, id_hash, payload_hash FROM requests "
            "WHERE segment BETWEEN ? AND ?",
            first,
            last,
        )
        both = requests.join(there, on=["segment", "row_index"], suffix="_there")
        wrong = both.filter(
            (pl.col("id_hash") != pl.col("id_hash_there"))
            | (pl.col("payload_hash") != pl.col("payload_hash_there"))
        ).sort("segment", "row_index")
        self._others += wrong.height
        self._other += request_ids(self._examination, wrong)[: MOST_IDS - len(self._other)]

    def _lines(self, segment: dict[str, Any]) -> pl.DataFrame | None:
        """Return the hashes of a segment's rows; None if it cannot be read."""
        number = segment["segment"]
        path = segment_path(self._examination.directory.segments, number)
        try:
            size = path.stat().st_size
            found = pl.DataFrame(pq.read_table(path, columns=["id_hash", "payload_hash"]))
        except (OSError, ArrowException):
            self._missing.append(f"segment {number}")
            return None
        if found.height != segment["rows"] or size != segment["bytes"]:
            self._changed.append(f"segment {number}")
        return found.select(
            pl.lit(number, dtype=pl.Int32).alias("segment"),
            pl.int_range(pl.len(), dtype=pl.Int32).alias("row_index"),
            "id_hash",
            "payload_hash",
        )


def _no_lines() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "segment": pl.Int32,
            "row_index": pl.Int32,
            "id_hash": pl.UInt64,
            "payload_hash": pl.UInt64,
        }
    )
