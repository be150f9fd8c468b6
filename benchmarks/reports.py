"""How long each figure of the dashboard takes over 1,000,000 requests."""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from batching.settings import Settings
from benchmarks.figures import Figure
from benchmarks.report_data import fill_ledger
from storage.ledger import Transaction, now
from storage.reports.audit import AuditFilter, audit_view
from storage.reports.batch import batch_report
from storage.reports.batches import BatchFilter, batches_view
from storage.reports.catalogue import REPORTS, Report, ReportQuery, run_report
from storage.reports.deliveries import DeliveryFilter, attempts_view, deliveries_view
from storage.reports.jobs import JobFilter, job_report, jobs_view
from storage.reports.paging import PageChoice
from storage.reports.requests import newer_requests, requests_view
from storage.reports.terms import Terms
from storage.request_filter import RequestFilter
from storage.snapshots import snapshot

REQUESTS: Final = 1_000_000
TARGET_MILLISECONDS: Final = 50.0
_TIMES: Final = 7
Look = Callable[[Transaction], Any]


def measure() -> list[Figure]:
    """Return the median of each report and page query, on one open view."""
    with tempfile.TemporaryDirectory() as folder:
        directory = fill_ledger(Path(folder), requests=REQUESTS)
        with snapshot(directory) as reader:
            return [_timed(reader, name, look) for name, look in _looks().items()]


def _timed(reader: Transaction, name: str, look: Look) -> Figure:
    times = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        look(reader)
        times.append((time.perf_counter() - begun) * 1_000)
    return Figure(
        measure=f"reports, {REQUESTS:,} requests", name=name, unit="ms",
        value=statistics.median(times), target=TARGET_MILLISECONDS,
    )  # fmt: skip


def _looks() -> dict[str, Look]:
    terms = Terms.of(Settings(_env_file=None))
    until = now()
    looks: dict[str, Look] = {
        name: partial(_ask, report, terms) for name, report in REPORTS.items()
    }
    for name, wanted, choice in _REQUEST_PAGES:
        looks[f"requests: {name}"] = partial(requests_view, wanted=wanted, choice=choice)
    first = PageChoice()
    busy = DeliveryFilter(failed_only=True, job="job 3", since=until - timedelta(days=7))
    return looks | {
        "requests: n new": lambda r: newer_requests(r, RequestFilter(), (9, 50_000)),
        "batches": lambda r: batches_view(r, BatchFilter(), first, terms=terms),
        "batches: search": lambda r: batches_view(r, BatchFilter(text="job 3"), first, terms=terms),
        "batch": lambda r: batch_report(r, 7, terms=terms),
        "jobs: page": lambda r: jobs_view(r, JobFilter(), first, terms=terms),
        "job": lambda r: job_report(r, "job 3", terms=terms),
        "deliveries": lambda r: deliveries_view(r, DeliveryFilter(), first),
        "attempts": lambda r: attempts_view(r, DeliveryFilter(), first),
        "attempts: filtered": lambda r: attempts_view(r, busy, first),
        "audit": lambda r: audit_view(r, AuditFilter(text="collected"), first),
    }


def _ask(report: Report, terms: Terms, reader: Transaction) -> Any:
    return run_report(reader, report, ReportQuery(), terms)


_FIRST: Final = PageChoice()
_REQUEST_PAGES: Final = (
    ("newest", RequestFilter(), _FIRST),
    ("page 36,001", RequestFilter(), PageChoice(offset=900_000)),
    ("failed", RequestFilter(state="failed"), _FIRST),
    ("of a job", RequestFilter(job="job 3"), _FIRST),
    ("part of an id", RequestFilter(custom_id_part="00777"), _FIRST),
    ("dead letters", RequestFilter(delivery_state="exhausted"), _FIRST),
    ("delivered", RequestFilter(delivery_state="delivered"), _FIRST),
    ("by custom_id", RequestFilter(), PageChoice(sort="custom_id")),
    ("by model", RequestFilter(), PageChoice(sort="model")),
    ("by last change", RequestFilter(), PageChoice(sort="updated")),
)
