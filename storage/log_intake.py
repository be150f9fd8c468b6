"""Taking in receivers' logs: many logs, of any jobs, into one series of segments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from batching.line_faults import Refusal, RefusalCode
from batching.outdated_requests import outdated_request
from batching.requests import ReadingRules, ReadRequest, read_request
from batching.stopping import check_stop
from storage.directory import DataDirectory
from storage.ledger import now
from storage.log_files import LogFile
from storage.received_lines import (
    ReceivedLine,
    read_received_line,
    rules_for_received,
    whole_lines,
)
from storage.rejected_lines import RejectedWriter
from storage.segments import SegmentWriter, WrittenSegment

MOST_BYTES_A_PASS: Final = 2_000_000_000
"""Of so many logs at a time the segments are written before the ledger hears of them."""

_DAMAGED: Final = Refusal(
    code=RefusalCode.NOT_JSON,
    reason=(
        "the line does not match its checksum: either the disk has damaged it, or a power cut "
        "came while it was written, and then it was never acknowledged"
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenLog:
    """What became of one log; nothing in the ledger says so yet."""

    log: LogFile
    first_segment: int
    first_row: int
    """Where its first accepted row lies, or would lie."""
    accepted: int
    rejected: int
    lines: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenLogs:
    """What became of the logs of one pass."""

    logs: tuple[TakenLog, ...]
    segments: tuple[WrittenSegment, ...]
    jobs: tuple[str, ...]
    """The jobs that the lines name, each once."""
    rejected_lines: tuple[RejectedWriter, ...]
    """Not published yet."""
    outdated: int = 0
    """Requests among them that fail at once: an earlier version has accepted them."""


def one_pass(logs: Sequence[LogFile]) -> list[LogFile]:
    """Return the first logs, as many as one pass takes."""
    chosen: list[LogFile] = []
    room_bytes = MOST_BYTES_A_PASS
    for log in logs:
        try:
            room_bytes -= log.bytes
        except FileNotFoundError:  # its name has just been made an urgent one
            continue
        if chosen and room_bytes < 0:
            break
        chosen.append(log)
    return chosen


def take_in_logs(
    directory: DataDirectory, logs: Sequence[LogFile], *, rules: ReadingRules, first_segment: int
) -> TakenLogs:
    """Write the requests of the logs to segments, and lines that cannot be read aside.

    What an earlier version accepted and this one would refuse is among the requests; it fails
    with a result. The segments are published, the rejected lines are not. A log that goes away
    is left out. After an error nothing is left behind.
    """
    with SegmentWriter(
        directory.segments,
        first_segment=first_segment,
        accepted_at=now(),
        source_ids=[log.source_id for log in logs],
    ) as segments:
        intake = _Intake(directory.rejected, rules_for_received(rules), segments)
        try:
            taken = [intake.take(log) for log in logs]
            return TakenLogs(
                segments=segments.finish(),
                logs=tuple(log for log in taken if log is not None),
                jobs=tuple(intake.jobs),
                rejected_lines=tuple(intake.rejected_lines),
                outdated=intake.outdated,
            )
        except BaseException:
            for rejected in intake.rejected_lines:
                rejected.discard()
            raise


@dataclass(slots=True)
class _Intake:
    """Where the lines of the logs go."""

    rejected_folder: Path
    rules: ReadingRules
    segments: SegmentWriter
    jobs: dict[str, None] = field(default_factory=dict)
    rejected_lines: list[RejectedWriter] = field(default_factory=list)
    outdated: int = 0

    def take(self, log: LogFile) -> TakenLog | None:
        """Read one log; None if it is not there any more."""
        name = f"{log.source_id}__{log.path.name}.jsonl"
        rejected = RejectedWriter(self.rejected_folder / name)
        place = self.segments.add("", [], [])
        taken = TakenLog(
            log=log, first_segment=place.segment, first_row=place.first_row,
            accepted=0, rejected=0, lines=0, bytes=0,
        )  # fmt: skip
        self.rejected_lines.append(rejected)
        try:
            for texts in whole_lines(log.blocks()):
                check_stop()
                taken = self._added(taken, texts, rejected)
        except FileNotFoundError:
            return None
        return replace(taken, rejected=rejected.count)

    def _added(self, taken: TakenLog, texts: list[bytes], rejected: RejectedWriter) -> TakenLog:
        rows = list(self._readable(texts, taken.lines + 1, rejected))
        received = [line for _, line, _ in rows]
        jobs = [line.job for line in received]
        self.jobs |= dict.fromkeys(jobs)
        self.segments.add_received(
            jobs,
            [line.received_at_us for line in received],
            [number for number, _, _ in rows],
            [request for _, _, request in rows],
        )
        return replace(
            taken,
            accepted=taken.accepted + len(rows),
            lines=taken.lines + len(texts),
            bytes=taken.bytes + sum(map(len, texts)) + len(texts),
        )

    def _readable(
        self, texts: list[bytes], first_number: int, rejected: RejectedWriter
    ) -> Iterator[tuple[int, ReceivedLine, ReadRequest]]:
        for number, text in enumerate(texts, start=first_number):
            received = read_received_line(text)
            if received is None:
                rejected.add(number, _DAMAGED, text)
                continue
            request = self._request_in(received.line)
            if isinstance(request, ReadRequest):
                yield number, received, request
            else:
                rejected.add(number, request, received.line)

    def _request_in(self, line: bytes) -> ReadRequest | Refusal:
        """Return what was accepted: its sender was told so, and waits for a result."""
        found = read_request(line, self.rules)
        if isinstance(found, ReadRequest) or (outdated := outdated_request(line)) is None:
            return found
        self.outdated += 1
        return outdated
