"""Each final request has its raw line in `results/`, whole, under its own wire id.

What of a result file is still delivered from, or has requests, must be there; retention deletes
the others. The delivered lines are compared on the way with what stands in the outbox.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow.parquet as pq
from pyarrow import ArrowException

from batching.wire import RequestRef, encode_wire_id
from storage.destinations import FILE
from storage.doctor.delivered_lines import DeliveredLines
from storage.doctor.examination import Examination, ranges, request_ids
from storage.doctor.findings import MOST_IDS, Check, Finding, Kind
from storage.result_files import result_path

NEEDED: Final = """
SELECT result_id, any_value(results.rows) AS rows, any_value(results.bytes) AS bytes,
    any_value(batch_id) AS batch_id
FROM results WHERE result_id IN (
    SELECT result_id FROM requests WHERE result_id IS NOT NULL
    UNION SELECT result_id FROM parts WHERE state = 'pending'
    UNION SELECT result_id FROM deliveries WHERE state IN ('pending', 'exhausted'))
GROUP BY result_id ORDER BY result_id
"""
"""Result files that somebody still needs."""
_COLUMNS: Final = (
    "segment", "row_index", "job_id", "destination_id", "custom_id", "id_start", "id_end", "line",
)  # fmt: skip
_KEY: Final = ["segment", "row_index"]
_REBUILD: Final = (
    "Rebuild it from the batch's raw files in batches/; if those are gone too, put it back from a "
    "backup. Its results that were delivered are in the outbox."
)


def _kind(code: str, explanation: str, remedy: str = _REBUILD) -> Kind:
    return Kind(
        check=Check.RESULT_LINES, code=code, explanation=explanation, remedy=remedy,
        repairable=remedy is _REBUILD,
    )  # fmt: skip


_MISSING: Final = _kind(
    "result_file_missing", "A result file is missing or cannot be read: paid answers are not there."
)
_CHANGED: Final = _kind(
    "result_file_changed",
    "A result file has another number of rows or bytes than were written, or a row twice: it was "
    "damaged or replaced.",
)
_NO_LINE: Final = _kind(
    "result_without_line", "The request has ended and its result file holds no line for it."
)
_OTHER_LINE: Final = _kind(
    "result_of_another_request",
    "The line that is kept for the request carries another id or another length than was recorded, "
    "so its user would get somebody else's answer.",
)
_PART_ROWS: Final = Kind(
    check=Check.DELIVERIES,
    code="part_rows",
    explanation="A part of the outbox has another number of lines than its result file holds for "
    "the job.",
    remedy="Restore the newest copy of the ledger that is right, or correct this row.",
)


class ResultFiles:
    """Reads every result file that is needed, a row group at a time."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._delivered = DeliveredLines(examination)
        self.damaged: set[int] = set()
        """The result files that are not as they were written."""
        self._ids: dict[Kind, list[str]] = {}
        self._counts: dict[Kind, int] = {}

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong with the files, and with the outbox compared with them."""
        needed = self._examination.reader.frame(NEEDED)
        for first, last in ranges(needed.select("result_id", "rows")):
            ours = self._examination.reader.frame(
                "SELECT segment, row_index, result_id, custom_id, result_bytes FROM requests "
                "WHERE result_id BETWEEN ? AND ?",
                first,
                last,
            )
            by_result = ours.partition_by("result_id", as_dict=True, include_key=False)
            for row in needed.filter(pl.col("result_id").is_between(first, last)).to_dicts():
                self._check_file(row, by_result.get((row["result_id"],), ours.clear()))
        for kind, ids in self._ids.items():
            yield kind.found(ids, count=self._counts[kind])
        yield from self._delivered.findings()

    def _check_file(self, result: dict[str, Any], expected: pl.DataFrame) -> None:
        result_id = result["result_id"]
        path = result_path(self._examination.directory, result_id)
        seen: list[pl.DataFrame] = []
        self._delivered.begin(result_id)
        try:
            size = path.stat().st_size
            with pq.ParquetFile(path, pre_buffer=False) as file:
                names = [name for name in _COLUMNS if name in file.schema_arrow.names]
                for group in range(file.num_row_groups):
                    rows = pl.DataFrame(file.read_row_group(group, columns=names))
                    if "destination_id" not in names:
                        rows = rows.with_columns(pl.lit(FILE).alias("destination_id"))
                    self._check_lines(result_id, rows, expected)
                    self._delivered.compare(rows)
                    seen.append(rows.select(*_KEY, "job_id", "destination_id"))
        except (OSError, ArrowException):
            self._note(result_id, _MISSING, [f"result {result_id}"])
            return
        self._delivered.end()
        self._check_rows(result, expected, pl.concat(seen) if seen else None, size)

    def _check_rows(
        self, result: dict[str, Any], expected: pl.DataFrame, seen: pl.DataFrame | None, size: int
    ) -> None:
        places = expected.select(_KEY).clear() if seen is None else seen.select(_KEY)
        if (
            places.height != result["rows"]
            or size != result["bytes"]
            or places.n_unique() != places.height
        ):
            self._note(result["result_id"], _CHANGED, [f"result {result['result_id']}"])
        absent = expected.join(places, on=_KEY, how="anti")
        if absent.height:
            names = request_ids(self._examination, absent)
            self._note(result["result_id"], _NO_LINE, names, absent.height)
        if seen is not None:
            self._check_parts(result["result_id"], seen)

    def _check_parts(self, result_id: int, seen: pl.DataFrame) -> None:
        lines = seen.filter(pl.col("destination_id") == FILE).group_by("job_id").len()
        there = dict(lines.iter_rows())
        for part in self._delivered.parts_of(result_id):
            if part["rows"] != there.get(part["job_id"], 0):
                self._note(result_id, _PART_ROWS, [f"part {part['part_id']}"])

    def _check_lines(self, result_id: int, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
        ours = rows.join(expected, on=_KEY, suffix="_ledger")
        own_id = pl.col("custom_id_ledger") if result_id < 0 else self._wire_ids()
        kept_id = pl.col("line").bin.slice(
            pl.col("id_start") + 1, pl.col("id_end") - pl.col("id_start") - 2
        )
        doubtful = ours.filter(
            (pl.col("custom_id") != pl.col("custom_id_ledger"))
            | (kept_id != own_id.cast(pl.Binary))
            | ((result_id >= 0) & (pl.col("line").bin.size() != pl.col("result_bytes")))
        )
        wrong = [not self._is_right(result_id, row) for row in doubtful.iter_rows(named=True)]
        found = doubtful.filter(pl.Series(wrong, dtype=pl.Boolean)).with_columns(
            pl.col("custom_id_ledger").alias("custom_id")
        )
        if found.height:
            names = request_ids(self._examination, found)
            self._note(result_id, _OTHER_LINE, names, found.height)

    def _wire_ids(self) -> pl.Expr:
        return pl.format(f"{self._examination.installation}-{{}}-{{}}", "segment", "row_index")

    def _is_right(self, result_id: int, row: dict[str, Any]) -> bool:
        """Look at a line again whose id may only be written in another way, with escapes."""
        line: bytes = row["line"]
        if row["custom_id"] != row["custom_id_ledger"]:
            return False
        if result_id >= 0 and row["result_bytes"] not in (None, len(line)):
            return False
        wanted = row["custom_id"]
        if result_id >= 0:
            ref = RequestRef(segment=row["segment"], row=row["row_index"])
            wanted = encode_wire_id(self._examination.installation, ref)
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return bool(msgspec.json.decode(line[row["id_start"] : row["id_end"]]) == wanted)
        return False

    def _note(
        self, result_id: int, kind: Kind, ids: Sequence[str], count: int | None = None
    ) -> None:
        if kind.check is Check.RESULT_LINES:
            self.damaged.add(result_id)
        known = self._ids.setdefault(kind, [])
        known += list(ids)[: MOST_IDS - len(known)]
        self._counts[kind] = self._counts.get(kind, 0) + (len(ids) if count is None else count)


def check_result_lines(examination: Examination) -> Iterator[Finding]:
    """Yield final requests without their line, and delivered lines that are not theirs."""
    yield from ResultFiles(examination).check()
