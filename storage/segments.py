"""Body segments: accepted requests in immutable Parquet files, bodies byte for byte.

The caller's thread turns rows into Arrow columns; compression and writing happen in a
second thread, one row group behind, because that is half of the work of taking in a file.
Nothing has its final name before `finish`, so an intake that fails leaves no segment.
"""

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batching.requests import ReadRequest
from storage.durable import disk_errors, publish, sync_file, temporary_path

FORMAT_VERSION: Final = "1"
FORMAT_VERSION_KEY: Final = "obm.segment_format"
SOURCE_IDS_KEY: Final = "obm.source_ids"
ROWS_A_SEGMENT: Final = 1_000_000
BODY_BYTES_A_SEGMENT: Final = 512_000_000
ROWS_A_GROUP: Final = 10_000
BODY_BYTES_A_GROUP: Final = 4_000_000
"""Three groups are in memory at a time: collected, waiting, being written."""

COLUMNS: Final = {
    "job": pl.String(),
    "line": pl.Int32(),
    "custom_id": pl.String(),
    "url": pl.String(),
    "model": pl.String(),
    "body": pl.Binary(),
    "delivery_config": pl.String(),
    "wire_bytes": pl.Int32(),
    "tokens": pl.Int32(),
    "output_tokens": pl.Int32(),
    "embedding_inputs": pl.Int32(),
    "id_hash": pl.UInt64(),
    "payload_hash": pl.UInt64(),
    "accepted_at": pl.Datetime("us", "UTC"),
}
_ARROW: Final = pl.CompatLevel.newest()
_SCHEMA: Final = pl.DataFrame(schema=COLUMNS).to_arrow(compat_level=_ARROW).schema
_DICTIONARY_COLUMNS: Final = ["job", "url", "model", "delivery_config"]
_GROUPS_WAITING: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenSegment:
    """A segment that is complete on the disk."""

    number: int
    path: Path
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RowRange:
    """Rows that lie one after the other in a segment, the first being row `first_row`."""

    segment: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group on its way to the writing thread."""

    segment: int
    frames: list[pl.DataFrame]
    is_last: bool


def segment_path(folder: Path, number: int) -> Path:
    """Return where the segment of this number is kept."""
    return folder / f"{number:06d}.parquet"


class SegmentWriter:
    """Appends accepted requests to segments, counted up from the first number given.

    `finish` publishes what was written; `abort` takes all of it away. One of them must be
    called: leaving a `with` block calls `abort` unless `finish` was called inside.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_segment: int,
        accepted_at: datetime,
        source_ids: Sequence[str],
        rows_a_segment: int = ROWS_A_SEGMENT,
        body_bytes_a_segment: int = BODY_BYTES_A_SEGMENT,
    ) -> None:
        self._rows_a_segment = rows_a_segment
        self._body_bytes_a_segment = body_bytes_a_segment
        self._accepted_at = accepted_at
        self._segment = first_segment
        self._rows = 0
        self._body_bytes = 0
        self._frames: list[pl.DataFrame] = []
        self._group_rows = 0
        self._group_bytes = 0
        self._thread: _WritingThread | None = _WritingThread(folder, ",".join(source_ids))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def add(self, job: str, lines: Sequence[int], requests: Sequence[ReadRequest]) -> RowRange:
        """Append requests of one job with their line numbers; return where they will lie."""
        rows = len(requests)
        jobs, moments = _constant(job, rows), _constant(self._accepted_at, rows)
        return self._add(jobs, moments, lines, requests)

    def add_received(
        self,
        jobs: Sequence[str],
        accepted_at_us: Sequence[int],
        lines: Sequence[int],
        requests: Sequence[ReadRequest],
    ) -> RowRange:
        """Append requests of several jobs, each with the moment at which it was accepted."""
        moments = pl.Series(accepted_at_us, dtype=pl.Int64).cast(COLUMNS["accepted_at"])
        return self._add(pl.Series(jobs, dtype=pl.String), moments, lines, requests)

    def _add(
        self,
        jobs: pl.Series,
        moments: pl.Series,
        lines: Sequence[int],
        requests: Sequence[ReadRequest],
    ) -> RowRange:
        place = RowRange(segment=self._segment, first_row=self._rows, rows=len(requests))
        if not requests:
            return place
        body_bytes = self._collect(_as_frame(jobs, moments, lines, requests), requests)
        self._rows += len(requests)
        self._body_bytes += body_bytes
        if self._rows >= self._rows_a_segment or self._body_bytes >= self._body_bytes_a_segment:
            self._hand_over(is_last=True)
            self._segment, self._rows, self._body_bytes = self._segment + 1, 0, 0
        elif self._group_rows >= ROWS_A_GROUP or self._group_bytes >= BODY_BYTES_A_GROUP:
            self._hand_over(is_last=False)
        return place

    def finish(self) -> tuple[WrittenSegment, ...]:
        """Complete the last segment and publish all: synced, under their final names."""
        thread = self._thread
        if thread is None:
            return ()
        if self._rows:
            self._hand_over(is_last=True)
        written = thread.join()
        for segment in written:
            publish(temporary_path(segment.path), segment.path)
        self._thread = None
        return tuple(written)

    def abort(self) -> None:
        """Take away everything that was written and not published."""
        if self._thread is not None:
            self._thread.abandon()
            self._thread = None

    def _collect(self, frame: pl.DataFrame, requests: Sequence[ReadRequest]) -> int:
        self._frames.append(frame)
        body_bytes = sum(len(request.body) for request in requests)
        self._group_rows += len(requests)
        self._group_bytes += body_bytes
        return body_bytes

    def _hand_over(self, *, is_last: bool) -> None:
        if self._thread is None:
            raise RuntimeError("the segment writer has been closed")
        self._thread.write(_Group(self._segment, self._frames, is_last))
        self._frames, self._group_rows, self._group_bytes = [], 0, 0


def _as_frame(
    jobs: pl.Series, moments: pl.Series, lines: Sequence[int], requests: Sequence[ReadRequest]
) -> pl.DataFrame:
    """Return the rows as columns (by Polars: Arrow's own builders would load pandas first)."""
    return pl.DataFrame(
        {
            "job": jobs,
            "line": lines,
            "custom_id": [request.custom_id for request in requests],
            "url": [request.url for request in requests],
            "model": [request.model for request in requests],
            "body": [request.body for request in requests],
            "delivery_config": [request.delivery_config for request in requests],
            "wire_bytes": [request.wire_bytes for request in requests],
            "tokens": [request.tokens for request in requests],
            "output_tokens": [request.output_tokens for request in requests],
            "embedding_inputs": [request.embedding_inputs for request in requests],
            "id_hash": [request.id_hash for request in requests],
            "payload_hash": [request.payload_hash for request in requests],
            "accepted_at": moments,
        },
        schema=COLUMNS,
    )


def _constant(value: object, rows: int) -> pl.Series:
    return pl.Series([value]).new_from_index(0, rows)


class _WritingThread:
    """Compresses and writes row groups; keeps the first error for its caller."""

    def __init__(self, folder: Path, source_ids: str) -> None:
        self._folder = folder
        self._metadata = {FORMAT_VERSION_KEY: FORMAT_VERSION, SOURCE_IDS_KEY: source_ids}
        self._groups: queue.Queue[_Group | None] = queue.Queue(maxsize=_GROUPS_WAITING)
        self._open: Any = None
        self._open_rows = 0
        self._written: list[WrittenSegment] = []
        self._begun: list[Path] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="segment-writer", daemon=True)
        self._thread.start()

    def write(self, group: _Group) -> None:
        """Hand over a row group; raise what went wrong with an earlier one."""
        if self._error is not None:
            raise self._error
        self._groups.put(group)

    def join(self) -> list[WrittenSegment]:
        """Return what was written once all of it is on the disk."""
        self._groups.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._written

    def abandon(self) -> None:
        """End the thread and delete what it wrote."""
        if self._thread.is_alive():
            self._groups.put(None)
            self._thread.join()
        if self._open is not None:
            with suppress(OSError):
                self._open.close()
        for path in self._begun:
            temporary_path(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while (group := self._groups.get()) is not None:
            if self._error is None:
                try:
                    self._write(group)
                except BaseException as error:  # noqa: BLE001 - raised again by the owner
                    self._error = error

    def _write(self, group: _Group) -> None:
        path = segment_path(self._folder, group.segment)
        with disk_errors(path):
            if self._open is None:
                self._begin(path)
            if group.frames:
                table = pa.concat_tables(
                    frame.to_arrow(compat_level=_ARROW) for frame in group.frames
                )
                self._open.write_table(table, row_group_size=max(1, table.num_rows))
                self._open_rows += table.num_rows
            if group.is_last:
                self._end(group.segment, path)

    def _begin(self, path: Path) -> None:
        self._begun.append(path)
        self._open = pq.ParquetWriter(
            str(temporary_path(path)),
            _SCHEMA,
            compression="zstd",
            compression_level=1,
            use_dictionary=_DICTIONARY_COLUMNS,
            write_statistics=False,
            store_schema=False,
        )
        self._open.add_key_value_metadata(self._metadata)

    def _end(self, number: int, path: Path) -> None:
        self._open.close()
        self._open = None
        temporary = temporary_path(path)
        sync_file(temporary)
        self._written.append(
            WrittenSegment(
                number=number, path=path, rows=self._open_rows, bytes=temporary.stat().st_size
            )
        )
        self._open_rows = 0
