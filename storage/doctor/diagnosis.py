"""One examination of the whole data directory: every check, on one view of the ledger."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import duckdb

from batching.errors import BatchManagerError, ConfigurationError
from storage.directory import DataDirectory
from storage.doctor.accepted_lines import check_accepted_lines
from storage.doctor.batch_counts import check_batch_counts
from storage.doctor.bookkeeping import check_batches
from storage.doctor.duties import check_deliveries
from storage.doctor.examination import Examination
from storage.doctor.findings import MOST_IDS, Finding, Report
from storage.doctor.orphans import check_orphans
from storage.doctor.outbox_files import check_outbox
from storage.doctor.references import check_references
from storage.doctor.request_states import check_request_states
from storage.doctor.result_lines import check_result_lines
from storage.doctor.unique_ids import check_custom_ids
from storage.inquiries import check_schema
from storage.ledger import now
from storage.snapshots import snapshot

PATIENCE_SECONDS: Final = 900.0
"""How long a file may lie there before somebody must own it: the longest step takes less."""
_LOOKS: Final = 2
"""A finding counts if it is there at every look, as files and ledger do not change as one."""

_CHECKS: Final[tuple[Callable[[Examination], Iterator[Finding]], ...]] = (
    check_accepted_lines,
    check_request_states,
    check_batch_counts,
    check_result_lines,
    check_deliveries,
    check_outbox,
    check_batches,
    check_orphans,
    check_custom_ids,
    check_references,
)
_COUNTED: Final = ("segments", "requests", "batches", "results", "parts", "deliveries")


def examine(directory: DataDirectory, *, patience_seconds: float = PATIENCE_SECONDS) -> Report:
    """Return everything that is wrong with the data directory, whether the pipeline runs or not.

    What is found while the ledger goes on is looked at a second time, so that a live system
    gives no false alarm. ConfigurationError says what to do about a ledger that cannot be read.
    """
    began = time.monotonic()
    report = _look(directory, patience_seconds)
    for _ in range(1, _LOOKS):
        if not report.findings:
            break
        again = _look(directory, patience_seconds)
        report = replace(again, findings=_in_both(report.findings, again.findings))
    return replace(report, seconds=round(time.monotonic() - began, 3))


@contextmanager
def examination_of(
    directory: DataDirectory, *, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[Examination]:
    """Give what the checks work on: a view of the ledger as it is now."""
    at = now()
    with _readable(directory), snapshot(directory, max_age_seconds=0.0) as reader:
        check_schema(reader)
        yield Examination(
            reader=reader,
            directory=directory,
            installation=str(
                reader.value("SELECT value FROM meta WHERE key = 'installation'") or ""
            ),
            at=at,
            patience_seconds=patience_seconds,
        )


def _look(directory: DataDirectory, patience_seconds: float) -> Report:
    if not directory.ledger.exists():
        _refuse_lost_ledger(directory)
        return Report(at=now(), seconds=0.0, notes=("nothing was taken in yet",))
    with examination_of(directory, patience_seconds=patience_seconds) as examination:
        findings = [finding for check in _CHECKS for finding in check(examination)]
        counted = {
            table: int(examination.reader.value(f"SELECT count(*) FROM {table}"))
            for table in _COUNTED
        }
        return Report(
            at=examination.at,
            seconds=0.0,
            findings=tuple(findings),
            notes=tuple(examination.notes),
            counted=counted,
        )


def _in_both(first: tuple[Finding, ...], second: tuple[Finding, ...]) -> tuple[Finding, ...]:
    earlier = {(finding.check, finding.code): finding for finding in first}
    both = (
        _narrowed(finding, earlier[finding.check, finding.code])
        for finding in second
        if (finding.check, finding.code) in earlier
    )
    return tuple(finding for finding in both if finding.count)


def _narrowed(finding: Finding, earlier: Finding) -> Finding:
    """Return the finding with those ids that were there at both looks, if all are named."""
    if max(finding.count, earlier.count) > MOST_IDS:
        return finding
    ids = tuple(name for name in finding.ids if name in earlier.ids)
    return replace(finding, ids=ids, count=min(finding.count, len(ids)))


@contextmanager
def _readable(directory: DataDirectory) -> Iterator[None]:
    try:
        yield
    except BatchManagerError:
        raise
    except (duckdb.Error, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and "readable copy" not in str(error):
            raise
        said = str(error).splitlines()[0]
        raise ConfigurationError(
            f"the ledger {directory.ledger} cannot be read ({said}): stop everything, move it and "
            f"its .wal away, and copy the newest good one of {_backups(directory)} to its place "
            "(docs/operations.md, Restore). segments/, batches/ and results/ are untouched"
        ) from error


def _refuse_lost_ledger(directory: DataDirectory) -> None:
    """Raise if there is work of a ledger, and no ledger."""
    left = {
        folder.name: count
        for folder in (directory.segments, directory.batches, directory.results)
        if (count := sum(1 for _ in folder.glob("[!.]*")))
    }
    if left:
        what = ", ".join(f"{count:,} in {name}/" for name, count in left.items())
        raise ConfigurationError(
            f"the ledger {directory.ledger} is gone, and what it spoke of is there ({what}): do "
            f"not start anything, or requests are bought again; copy the newest of "
            f"{_backups(directory)} to its place (docs/operations.md, Restore)"
        )


def _backups(directory: DataDirectory) -> str:
    newest = max(directory.backups.glob("ledger-*.duckdb"), default=None)
    return f"the copies in {directory.backups}" + (f" ({newest.name})" if newest else ", if any")
