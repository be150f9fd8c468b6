"""No file lies there that nobody owns. What is newer than the view of the ledger is left out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyarrow import ArrowException

from batching.jobs import SIDE_FILE_SUFFIX
from storage.doctor.examination import Examination
from storage.doctor.findings import Check, Finding, Kind, Severity
from storage.log_files import logs_in
from storage.segment_reading import segment_metadata
from storage.segments import SOURCE_IDS_KEY
from storage.staging import claimed_sources

_AFTER_RESTORE: Final = (
    "After a restore of an older ledger this is what was made since: restore a newer copy, or "
    "move it out of the data directory once you know what it is (docs/operations.md)."
)


def _kind(
    code: str, explanation: str, remedy: str = _AFTER_RESTORE, severity: Severity = Severity.FAULT
) -> Kind:
    return Kind(
        check=Check.ORPHANS, code=code, severity=severity, explanation=explanation, remedy=remedy
    )


_SEGMENT: Final = _kind(
    "orphan_segment",
    "A segment holds accepted requests that the ledger does not know: they would never be sent.",
)
_RESULT: Final = _kind(
    "orphan_result", "A result file holds answers that the ledger does not know."
)
_BATCH: Final = _kind(
    "orphan_batch_folder",
    "A folder holds the files of a batch that the ledger does not know, so it may run at the "
    "provider and its requests may be bought again.",
)
_CLAIMED: Final = _kind(
    "orphan_claimed",
    "A file in staging/claimed has a name that no step takes up: it is not taken in.",
    "Move it back to staging/inbox if it is to be taken in, or away.",
    Severity.WARNING,
)
_TEMPORARY: Final = Kind(
    check=Check.ORPHANS,
    code="orphan_temporary",
    severity=Severity.WARNING,
    explanation="Something half-written was left behind by a crash. It holds nothing that is not "
    "elsewhere and takes space.",
    remedy="Delete it.",
    repairable=True,
)


def check_orphans(examination: Examination) -> Iterator[Finding]:
    """Yield files that belong to nobody and are too old to be work in progress."""
    found = (
        (_SEGMENT, _segments(examination)),
        (_RESULT, _results(examination)),
        (_BATCH, _batch_folders(examination)),
        (_CLAIMED, _claimed(examination)),
        (_TEMPORARY, [name_of(examination, path) for path in temporaries(examination)]),
    )
    for kind, ids in found:
        if ids:
            yield kind.found(sorted(ids))


def temporaries(examination: Examination) -> list[Path]:
    """Return what a crash has left half-written, where only the pipeline writes."""
    directory = examination.directory
    places = (
        directory.segments.glob(".*.tmp"),
        directory.rejected.glob(".*.tmp"),
        directory.results.glob(".*.tmp"),
        directory.batches.glob("*/.*.tmp"),
        directory.outbox.rglob(".*.tmp"),
    )
    return [path for found in places for path in found if examination.is_settled(path)]


def name_of(examination: Examination, path: Path) -> str:
    """Return how a file is called in findings: its place in the data directory."""
    return str(path.relative_to(examination.directory.root))


def _segments(examination: Examination) -> list[str]:
    known = _numbers(examination, "SELECT segment FROM segments")
    waiting = _sources_that_wait(examination)
    return [
        name_of(examination, path)
        for path in examination.directory.segments.glob("*.parquet")
        if not (path.stem.isdigit() and int(path.stem) in known)
        and examination.is_settled(path)
        and waiting.isdisjoint(_sources_of(path))
    ]


def _sources_that_wait(examination: Examination) -> frozenset[str]:
    """Return the sources that will be taken in again: the next run deletes what they left."""
    directory = examination.directory
    claimed = claimed_sources(directory) if directory.claimed.is_dir() else []
    logs = logs_in(directory.inbox)
    return frozenset({*(found.source_id for found in claimed), *(log.source_id for log in logs)})


def _sources_of(segment: Path) -> list[str]:
    try:
        return segment_metadata(segment)[1].get(SOURCE_IDS_KEY, "").split(",")
    except (OSError, ArrowException):
        return []


def _results(examination: Examination) -> list[str]:
    known = _numbers(examination, "SELECT result_id FROM results")
    # What is collected, or written for requests that ended here, is written again by the next run.
    known |= _numbers(examination, "SELECT batch_id FROM batches WHERE state = 'ended'")
    known.add(min({0, *known}) - 1)
    return [
        name_of(examination, path)
        for path in examination.directory.results.glob("*.parquet")
        if _result_number(path) not in known and examination.is_settled(path)
    ]


def _result_number(path: Path) -> int | None:
    digits = path.stem.removeprefix("own-")
    if not digits.isdigit():
        return None
    return -int(digits) if path.stem.startswith("own-") else int(digits)


def _batch_folders(examination: Examination) -> list[str]:
    known = _numbers(examination, "SELECT batch_id FROM batches")
    return [
        name_of(examination, path)
        for path in examination.directory.batches.glob("*")
        if not (path.name.isdigit() and int(path.name) in known) and examination.is_settled(path)
    ]


def _claimed(examination: Examination) -> list[str]:
    """Return what lies in `claimed` under a name that no source has."""
    folder = examination.directory.claimed
    if not folder.is_dir():
        return []
    owned = {found.path for found in claimed_sources(examination.directory)}
    sides = {found.side_file for found in claimed_sources(examination.directory)}
    return [
        name_of(examination, path)
        for path in folder.iterdir()
        if path not in owned
        and path not in sides
        # A side file without its source goes back to the inbox at the next claim.
        and not path.name.endswith(SIDE_FILE_SUFFIX)
        and examination.is_settled(path)
    ]


def _numbers(examination: Examination, sql: str) -> set[int]:
    return {int(number) for number in examination.reader.frame(sql).to_series().to_list()}
