"""What the analytics page looks at: all of it stands in the address."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from dashboards.markup import Html, html
from dashboards.places import Place
from dashboards.theme import icon
from storage.reports.analytics_filter import AnalyticsFilter
from storage.reports.buckets import Span

PRESETS: Final[Mapping[str, str]] = {
    "24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days",
}  # fmt: skip
USUAL: Final = "30d"
_LENGTHS: Final = {
    "24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}  # fmt: skip
_PIECES: Final = (
    (timedelta(days=2), 3_600), (timedelta(days=10), 6 * 3_600), (timedelta(days=400), 86_400),
)  # fmt: skip
_LONG_PIECE_SECONDS: Final = 7 * 86_400
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PIECE_WORDS: Final = {
    3_600: "an hour", 6 * 3_600: "six hours", 86_400: "a day", _LONG_PIECE_SECONDS: "a week",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The stretch of time, the model and the job, as they are in the address."""

    span: Span
    preset: str | None
    """None: a stretch between two days."""
    model: str | None
    job: str | None
    problem: str | None = None
    """Why the days of the address are not taken."""

    @property
    def filter(self) -> AnalyticsFilter:
        """The same for the reports."""
        return AnalyticsFilter(span=self.span, model=self.model, job=self.job)

    @property
    def pieces(self) -> str:
        """How long one bar is."""
        return _PIECE_WORDS[self.span.bucket_seconds]

    def csv_address(self, report: str, *, in_pieces: bool = False) -> str:
        """Return where a report is to be had as CSV for this choice."""
        query = {"format": "csv", "since": f"{self.span.since:%Y-%m-%dT%H:%M:%SZ}"}
        if self.preset is None:
            query["until"] = f"{self.span.until:%Y-%m-%dT%H:%M:%SZ}"
        if in_pieces:
            query["bucket_seconds"] = str(self.span.bucket_seconds)
        query |= {"model": self.model} if self.model else {}
        query |= {"job": self.job} if self.job else {}
        return f"/api/stats/{report}?{urlencode(query)}"

    def csv_link(self, report: str, *, in_pieces: bool = False) -> Html:
        """Return the button that downloads a report as CSV."""
        return html(
            '<a class="button small quiet csv" href="{}" download="{}.csv" '
            'aria-label="Download {} as CSV">{} CSV</a>',
            self.csv_address(report, in_pieces=in_pieces), report, report.replace("_", " "),
            icon("download"),
        )  # fmt: skip


def choice_of(place: Place, at: datetime) -> Choice:
    """Return what the address asks for; the usual time where it cannot be understood."""
    problem = None
    if place.get("from") or place.get("to"):
        span = _days(place, at)
        if span is not None:
            return _choice(place, span, preset=None)
        problem = "Choose a first day that is not after the last one."
    preset = place.get("preset") if place.get("preset") in PRESETS else USUAL
    span = _span(at - _LENGTHS[preset], at)
    return _choice(place, span, preset=preset, problem=problem)


def _choice(place: Place, span: Span, *, preset: str | None, problem: str | None = None) -> Choice:
    return Choice(
        span=span, preset=preset, model=place.get("model") or None, job=place.get("job") or None,
        problem=problem,
    )  # fmt: skip


def _days(place: Place, at: datetime) -> Span | None:
    first, last = _day(place.get("from")), _day(place.get("to"))
    until = at if last is None or last >= at else min(at, last + timedelta(days=1))
    if until <= _EARLIEST:
        return None
    since = until - _LENGTHS[USUAL] if first is None else first
    return _span(since, until) if _EARLIEST <= since < until else None


def _day(text: str) -> datetime | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def _span(since: datetime, until: datetime) -> Span:
    """Return the span that begins with a whole piece."""
    seconds = next(
        (length for most, length in _PIECES if until - since <= most), _LONG_PIECE_SECONDS
    )
    begin = since.timestamp() // seconds * seconds
    return Span(since=datetime.fromtimestamp(begin, UTC), until=until, bucket_seconds=seconds)
