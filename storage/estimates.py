"""Reading request files only to know what they would take and cost; nothing is written."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batching.errors import BadInput
from batching.estimates import Estimator
from batching.jobs import JobSettings, read_job_settings, side_file_name
from batching.line_faults import Refusal, RefusalCode
from batching.requests import ReadingRules, ReadRequest, read_request
from storage.formats import format_of, read_chunks
from storage.source_bytes import SourceBytes

SHOWN_REFUSALS = 5
_NO_IDS: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedNumber:
    """A line that would be refused, by its number, and why."""

    line: int
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEstimate:
    """What would become of the lines of one file."""

    name: str
    accepted: int
    rejected: int
    first_refusals: tuple[RefusedNumber, ...]
    refused_because: str | None = None
    """Why the file as a whole would be refused; then nothing of it is counted."""


def estimate_file(
    path: Path,
    estimator: Estimator,
    rules: ReadingRules,
    *,
    shown_refusals: int = SHOWN_REFUSALS,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Estimator, FileEstimate]:
    """Return the estimator with the file's requests added, and what became of its lines.

    `on_progress` hears now and then how many bytes have been read.
    """

    def new_reading() -> _Reading:
        return _Reading(path, _side_settings(path), rules, shown_refusals, on_progress)

    try:
        reading = new_reading()
        added = estimator.copy()
        repeated = reading.add_to(added, repeated_ids=_NO_IDS)
        if repeated:
            # Seldom: read again, now knowing which few ids are worth remembering.
            added = estimator.copy()
            reading = new_reading()
            reading.add_to(added, repeated_ids=repeated)
    except BadInput as error:
        return estimator, _refused(path, str(error))
    if not reading.accepted and not reading.rejected:
        return estimator, _refused(path, "the file holds no requests")
    return added, FileEstimate(
        name=path.name,
        accepted=reading.accepted,
        rejected=reading.rejected,
        first_refusals=tuple(reading.first_refusals),
    )


def _refused(path: Path, reason: str) -> FileEstimate:
    return FileEstimate(
        name=path.name, accepted=0, rejected=0, first_refusals=(), refused_because=reason
    )


def _side_settings(path: Path) -> JobSettings:
    format_of(path.name)
    side_file = path.with_name(side_file_name(path.name))
    return read_job_settings(side_file.read_bytes()) if side_file.exists() else JobSettings()


class _Reading:
    """One pass over a file."""

    def __init__(
        self,
        path: Path,
        settings: JobSettings,
        rules: ReadingRules,
        shown_refusals: int,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._path = path
        self._settings = settings
        self._rules = rules
        self._shown_refusals = shown_refusals
        self._on_progress = on_progress
        self.accepted = 0
        self.rejected = 0
        self.first_refusals: list[RefusedNumber] = []

    def add_to(self, estimator: Estimator, *, repeated_ids: frozenset[int]) -> frozenset[int]:
        """Count every request of the file once; return ids that seem to stand in it twice.

        Only ids known to be repeated are remembered, so that memory stays flat.
        """
        hashes = array("Q")
        seen: set[str] = set()
        for number, read in self._lines():
            if isinstance(read, Refusal):
                self._refuse(number, read)
            elif read.id_hash in repeated_ids and read.custom_id in seen:
                self._refuse(number, _duplicate(read.custom_id))
            else:
                if read.id_hash in repeated_ids:
                    seen.add(read.custom_id)
                hashes.append(read.id_hash)
                self.accepted += 1
                estimator.add(read)
        return frozenset() if repeated_ids else _repeated_values(hashes)

    def _lines(self) -> Iterator[tuple[int, ReadRequest | Refusal]]:
        with SourceBytes(self._path) as source:
            for chunk in read_chunks(self._path, source, self._settings):
                if self._on_progress is not None:
                    self._on_progress(source.offset)
                for refused in chunk.refused:
                    yield refused.number, refused.refusal
                for number, line in zip(chunk.numbers, chunk.lines, strict=True):
                    if line and not line.isspace():
                        yield number, read_request(line, self._rules)

    def _refuse(self, number: int, refusal: Refusal) -> None:
        self.rejected += 1
        if len(self.first_refusals) < self._shown_refusals:
            self.first_refusals.append(
                RefusedNumber(line=number, code=refusal.code, reason=refusal.reason)
            )


def _duplicate(custom_id: str) -> Refusal:
    return Refusal(
        code=RefusalCode.DUPLICATE_CUSTOM_ID,
        reason=f"custom_id {custom_id!r} stands in an earlier line of the same file",
    )


def _repeated_values(hashes: "array[int]") -> frozenset[int]:
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64)) if hashes else np.array([])
    return frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
