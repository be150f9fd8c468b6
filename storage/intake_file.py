"""Taking in one claimed file: from its bytes to segments and refused lines."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from batching.errors import BadInput
from batching.jobs import JobSettings
from batching.requests import ReadingRules, ReadRequest, read_request
from batching.stopping import check_stop
from storage.directory import DataDirectory
from storage.formats import read_chunks
from storage.rejected_lines import RejectedWriter
from storage.segments import RowRange, SegmentWriter, WrittenSegment
from storage.source_bytes import SourceBytes
from storage.staging import ClaimedFile
from storage.text_formats import Chunk


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenIn:
    """What became of a source; nothing in the ledger says so yet."""

    source_id: str
    segments: tuple[WrittenSegment, ...]
    ranges: tuple[RowRange, ...]
    """Where its accepted rows lie, in the order of its lines."""
    accepted: int
    rejected: int
    lines_read: int
    """Number of the last line, counted from the beginning of the file."""
    bytes_read: int
    """Offset up to which the file was read; a later growth begins here."""
    content_hash: str
    """xxh3_128 of the raw bytes from the beginning of the file up to `bytes_read`."""
    id_hashes: "np.ndarray[Any, np.dtype[np.uint64]]"
    """One a row, in the order of the rows."""
    rejected_lines: RejectedWriter
    """Still open, so that repeated ids can be added before it is published."""


def take_in(
    directory: DataDirectory,
    claimed: ClaimedFile,
    *,
    job: str,
    first_segment: int,
    rules: ReadingRules,
    accepted_at: datetime,
    job_settings: JobSettings | None = None,
    start_offset: int = 0,
    first_line: int = 1,
    part: int = 1,
) -> TakenIn:
    """Write the good lines of a source to segments and the others to a rejected file.

    The segments are published, the rejected lines are not: the caller looks for repeated ids
    first. A start offset takes in only what a plain JSONL file has grown by; the first line of
    the growth then has the number `first_line`, unless it ends a line begun before. BadInput means
    that the source cannot be used at all; after any error nothing is left behind.
    """
    rejected_lines = RejectedWriter(rejected_path(directory, claimed, part=part))
    try:
        with (
            SourceBytes(claimed.path, start_offset) as source,
            SegmentWriter(
                directory.segments,
                first_segment=first_segment,
                accepted_at=accepted_at,
                source_ids=[claimed.source_id],
            ) as segments,
        ):
            intake = _Intake(job, rules, segments, rejected_lines)
            intake.lines_read = first_line - 1
            chunks = read_chunks(
                claimed.path,
                source,
                job_settings or JobSettings(),
                first_number=first_line - source.is_inside_a_line,
            )
            for chunk in chunks:
                check_stop()
                intake.take(chunk)
            return intake.finished(claimed, source, may_be_empty=start_offset > 0)
    except BaseException:
        rejected_lines.discard()
        raise


def rejected_path(directory: DataDirectory, claimed: ClaimedFile, *, part: int = 1) -> Path:
    """Return where the refused lines of one pass over a source are kept."""
    suffix = "" if part == 1 else f"-{part}"
    return directory.rejected / f"{claimed.path.name}{suffix}.jsonl"


@dataclass(slots=True)
class _Intake:
    """Where the lines of one source go."""

    job: str
    rules: ReadingRules
    segments: SegmentWriter
    rejected_lines: RejectedWriter
    lines_read: int = 0
    ranges: list[RowRange] = field(default_factory=list)
    id_hashes: "array[int]" = field(default_factory=lambda: array("Q"))

    def take(self, chunk: Chunk) -> None:
        """Read the lines of a chunk; keep the good ones, reject the others, skip blank ones."""
        read = [read_request(line, self.rules) for line in chunk.lines]
        numbers: Sequence[int] = chunk.numbers
        requests = [request for request in read if type(request) is ReadRequest]
        if len(requests) < len(read):
            numbers = [
                number
                for number, request in zip(chunk.numbers, read, strict=True)
                if type(request) is ReadRequest
            ]
            self._reject(chunk, read)
        for refused in chunk.refused:
            self.rejected_lines.add(refused.number, refused.refusal, refused.raw)
        self._keep(numbers, requests)
        last_refused = chunk.refused[-1].number if chunk.refused else 0
        self.lines_read = max(self.lines_read, last_refused, *chunk.numbers[-1:])

    def finished(self, claimed: ClaimedFile, source: SourceBytes, *, may_be_empty: bool) -> TakenIn:
        """Publish the segments and return what became of the source."""
        if not (may_be_empty or self.id_hashes or self.rejected_lines.count):
            raise BadInput("the file is empty: it holds no requests")
        return TakenIn(
            source_id=claimed.source_id,
            segments=self.segments.finish(),
            ranges=tuple(self.ranges),
            accepted=len(self.id_hashes),
            rejected=self.rejected_lines.count,
            lines_read=self.lines_read,
            bytes_read=source.offset,
            content_hash=source.content_hash,
            id_hashes=np.frombuffer(self.id_hashes, np.uint64),
            rejected_lines=self.rejected_lines,
        )

    def _reject(self, chunk: Chunk, read: Sequence[object]) -> None:
        for number, line, refusal in zip(chunk.numbers, chunk.lines, read, strict=True):
            if type(refusal) is not ReadRequest and line and not line.isspace():
                self.rejected_lines.add(number, refusal, line)  # type: ignore[arg-type]

    def _keep(self, numbers: Sequence[int], requests: Sequence[ReadRequest]) -> None:
        if not requests:
            return
        self.id_hashes.extend([request.id_hash for request in requests])
        place = self.segments.add(self.job, numbers, requests)
        last = self.ranges[-1] if self.ranges else None
        if last is not None and last.segment == place.segment:
            self.ranges[-1] = RowRange(
                segment=last.segment, first_row=last.first_row, rows=last.rows + place.rows
            )
        else:
            self.ranges.append(place)
