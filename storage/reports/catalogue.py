"""Every figure under its name, so that pages, REST and scripts ask for the same one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from batching.errors import BadInput
from storage.delivery_queries import ages_report, deliveries_by_state
from storage.ledger import Transaction, now
from storage.reports import deliveries, outcomes, overview, progress, timing, usage
from storage.reports.analytics_filter import AnalyticsFilter
from storage.reports.attention import attention_list
from storage.reports.batches import gathering
from storage.reports.buckets import Span
from storage.reports.jobs import JobFilter, jobs_view
from storage.reports.paging import PageChoice
from storage.reports.switches import token_caps_report
from storage.reports.terms import Terms

MOST_BUCKETS: Final = 2_000
_USUAL_SPAN: Final = timedelta(days=14)
_USUAL_BUCKET_SECONDS: Final = 6 * 3_600
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2500, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportQuery:
    """What a report can be asked for; a report uses those that it names."""

    since: datetime | None = None
    """None: two weeks before `until`."""
    until: datetime | None = None
    """None: now."""
    bucket_seconds: int | None = None
    """None: six hours."""
    model: str | None = None
    job: str | None = None
    limit: int | None = None
    """None: 100."""

    @property
    def span(self) -> Span:
        """The stretch of time that is meant; BadInput if it is none or has too many pieces."""
        until = self.until or now()
        if not _EARLIEST < until < _LATEST or (self.since and self.since < _EARLIEST):
            raise BadInput(f"times must lie between {_EARLIEST:%Y} and {_LATEST:%Y}")
        since = self.since or until - _USUAL_SPAN
        seconds = self.bucket_seconds or _USUAL_BUCKET_SECONDS
        if since >= until:
            raise BadInput("`since` must be before `until`")
        if (until - since).total_seconds() / seconds > MOST_BUCKETS:
            raise BadInput(
                f"that would be more than {MOST_BUCKETS:,} pieces of time: choose a larger "
                "`bucket_seconds`, or a shorter time"
            )
        return Span(since=since, until=until, bucket_seconds=seconds)

    @property
    def analytics(self) -> AnalyticsFilter:
        """The same as the filter of the analytics page."""
        return AnalyticsFilter(span=self.span, model=self.model, job=self.job)

    @property
    def most(self) -> int:
        """How many rows at most."""
        return self.limit or 100

    @property
    def given(self) -> dict[str, Any]:
        """What is asked for, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


Run = Callable[[Transaction, ReportQuery, Terms], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One named figure or list of figures."""

    name: str
    description: str
    parameters: tuple[str, ...]
    """Which fields of a `ReportQuery` it uses."""
    run: Run


def report_named(name: str) -> Report | None:
    """Return the report of this name, None if there is none."""
    return REPORTS.get(name)


def run_report(reader: Transaction, report: Report, query: ReportQuery, terms: Terms) -> Any:
    """Return what the report says; BadInput if it is asked for something that it does not know."""
    unused = set(query.given) - set(report.parameters)
    if unused:
        known = ", ".join(report.parameters) or "none"
        raise BadInput(
            f"the report {report.name!r} has no parameter {min(unused)!r}; it has: {known}"
        )
    return report.run(reader, query, terms)


def _report(name: str, function: Callable[..., Any], run: Run, *parameters: str) -> Report:
    """Return a report that is described as its function is."""
    first = (function.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
    text = first.removeprefix("Return ")
    return Report(
        name=name, description=text[:1].upper() + text[1:], parameters=parameters, run=run
    )


def _usage_by(by: usage.By) -> Report:
    return Report(
        name=f"usage_by_{by}",
        description=f"Tokens, cost, synchronous cost and saving by {by}, the dearest first.",
        parameters=(*_CHOICE, "limit"),
        run=lambda r, q, t: usage.usage_by(r, q.analytics, by, terms=t, most=q.most),
    )


_TIME: Final = ("since", "until")
_PIECES: Final = (*_TIME, "bucket_seconds")
_CHOICE: Final = (*_TIME, "model", "job")
_ALL: Final = [
    _report(
        "overview",
        overview.overview_report,
        lambda r, _, t: overview.overview_report(r, at=now(), terms=t),
    ),
    _report(
        "received", overview.received_tile, lambda r, _, _t: overview.received_tile(r, at=now())
    ),
    _report(
        "delivered", overview.delivered_tile, lambda r, _, _t: overview.delivered_tile(r, at=now())
    ),
    _report(
        "savings",
        overview.savings_tile,
        lambda r, _, t: overview.savings_tile(r, at=now(), terms=t),
    ),
    _report(
        "dead_letter_count",
        overview.dead_letters_tile,
        lambda r, _, _t: overview.dead_letters_tile(r, at=now()),
    ),
    _report(
        "pipeline", overview.pipeline_strip, lambda r, _, _t: overview.pipeline_strip(r, at=now())
    ),
    _report(
        "enqueued_tokens",
        overview.enqueued_by_lane,
        lambda r, _, t: overview.enqueued_by_lane(r, terms=t),
    ),
    _report("token_caps", token_caps_report, lambda r, _, t: token_caps_report(r, terms=t)),
    _report(
        "attention",
        attention_list,
        lambda r, q, _t: attention_list(r, at=now(), most=q.most),
        "limit",
    ),
    _report(
        "outcomes",
        outcomes.outcomes_over_time,
        lambda r, q, _t: outcomes.outcomes_over_time(r, span=q.span),
        *_PIECES,
    ),
    _report(
        "failures_by_code",
        outcomes.failures_by_code,
        lambda r, q, _t: outcomes.failures_by_code(
            r, since=q.span.since, until=q.span.until, most=q.most
        ),
        *_TIME,
        "limit",
    ),
    _report(
        "requests_by_state",
        progress.requests_by_state,
        lambda r, _, _t: progress.requests_by_state(r),
    ),
    _report(
        "batches_by_state", progress.batches_by_state, lambda r, _, _t: progress.batches_by_state(r)
    ),
    _report("deliveries_by_state", deliveries_by_state, lambda r, _, _t: deliveries_by_state(r)),
    _report("ages", ages_report, lambda r, _, _t: ages_report(r)),
    _report("lanes", progress.lanes_report, lambda r, _, _t: progress.lanes_report(r)),
    _report("gathering", gathering, lambda r, _, t: gathering(r, terms=t)),
    Report(
        name="jobs",
        description="The newest jobs with their progress and money.",
        parameters=("limit",),
        run=lambda r, q, t: jobs_view(r, JobFilter(), PageChoice(limit=q.most), terms=t)["rows"],
    ),
    _report(
        "targets",
        deliveries.targets_report,
        lambda r, _, _t: deliveries.targets_report(r, at=now()),
    ),
    _report(
        "files", deliveries.files_report, lambda r, _, _t: deliveries.files_report(r, at=now())
    ),
    _report(
        "dead_letters",
        deliveries.dead_letters,
        lambda r, q, _t: deliveries.dead_letters(r, most=q.most),
        "limit",
    ),
    _report(
        "usage",
        usage.usage_totals,
        lambda r, q, t: usage.usage_totals(r, q.analytics, terms=t),
        *_CHOICE,
    ),
    _usage_by("model"),
    _usage_by("endpoint"),
    _usage_by("job"),
    Report(
        name="usage_over_time",
        description="Tokens, cost, synchronous cost and saving for each piece of time.",
        parameters=(*_PIECES, "model", "job"),
        run=lambda r, q, t: usage.usage_over_time(r, q.analytics, terms=t),
    ),
    _report(
        "token_estimates",
        usage.estimates_by_model,
        lambda r, q, _t: usage.estimates_by_model(r, q.analytics),
        *_CHOICE,
    ),
    _report(
        "flow",
        timing.flow_over_time,
        lambda r, q, _t: timing.flow_over_time(r, q.analytics),
        *_PIECES,
        "model",
        "job",
    ),
    _report(
        "time_to_result",
        timing.request_durations,
        lambda r, q, _t: timing.request_durations(r, q.analytics),
        *_CHOICE,
    ),
    _report(
        "batch_turnaround",
        timing.batch_turnaround,
        lambda r, q, _t: timing.batch_turnaround(r, q.analytics),
        *_CHOICE,
    ),
    _report(
        "turnaround_by_model",
        timing.turnaround_by_model,
        lambda r, q, _t: timing.turnaround_by_model(r, q.analytics),
        *_CHOICE,
    ),
    _report(
        "batch_fill",
        timing.batch_fill,
        lambda r, q, t: timing.batch_fill(r, q.analytics, terms=t),
        *_CHOICE,
    ),
    _report(
        "batch_endings",
        timing.batch_endings,
        lambda r, q, _t: timing.batch_endings(r, q.analytics),
        *_CHOICE,
    ),
    _report(
        "errors_by_model",
        timing.errors_by_model,
        lambda r, q, _t: timing.errors_by_model(r, q.analytics, most=q.most),
        *_CHOICE,
        "limit",
    ),
    _report(
        "delivery_success",
        timing.delivery_success,
        lambda r, q, _t: timing.delivery_success(r, q.analytics),
        *_CHOICE,
    ),
]
REPORTS: Final[Mapping[str, Report]] = {report.name: report for report in _ALL}
