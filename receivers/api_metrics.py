"""The figures for Prometheus: what this process counts, and what the ledger says."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from receivers.context import WebContext, web_context
from receivers.paging import reading
from receivers.views import ERRORS
from storage.delivery_figures import (
    QUANTILES,
    Times,
    attempt_times,
    attempts_by_outcome,
    delivery_delays,
    taken_in_by_role,
)
from storage.delivery_queries import ages_report, deliveries_by_state
from storage.ledger import Transaction, now
from storage.ledger_check import ledger_trouble
from storage.reports.progress import batches_by_state, lanes_report, requests_by_state

router = APIRouter(tags=["state"], responses=ERRORS)
_CACHE_SECONDS: Final = 5.0
_STATES: Final = (
    ("requests", requests_by_state),
    ("deliveries", deliveries_by_state),
    ("batches", batches_by_state),
)
_DOORS: Final[Mapping[str | None, str]] = {
    "web": "rest",
    "dashboard": "rest",
    "consumer": "rabbitmq",
    None: "file",
}
"""What the roles that receive are called here; uploads of many are files, too."""
_OUTCOMES: Final = ("accepted", "duplicate", "refused")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def show_metrics(context: Annotated[WebContext, Depends(web_context)]) -> Response:
    """Return the figures in the text format of Prometheus; the ledger's are 5 seconds old at most.

    Counters (`_total`) of this process begin anew with it. What the ledger keeps is a gauge, as
    retention makes it less, but for what was taken in, which is never forgotten.
    """
    text = generate_latest(context.counts.registry) + _of_ledgers.text(context)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class _OfLedgers:
    """Keeps the text of the ledger's figures for some seconds, by data directory."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._texts: dict[str, tuple[float, bytes]] = {}

    def text(self, context: WebContext) -> bytes:
        """Return the figures, read anew if they are old."""
        key = str(context.directory.root)
        with self._lock:
            made_at, text = self._texts.get(key, (-_CACHE_SECONDS, b""))
            if time.monotonic() - made_at >= _CACHE_SECONDS or not text:
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_OfLedger(context))
                text = generate_latest(registry)
                self._texts[key] = (time.monotonic(), text)
            return text


_of_ledgers = _OfLedgers()


class _OfLedger(Collector):
    """Reads all figures from one view of the ledger."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """Yield the figures; of a ledger that cannot be read only that."""
        trouble = ledger_trouble(self._context.directory)
        yield GaugeMetricFamily(
            "obm_ledger_readable", "1 if the ledger can be read", value=float(trouble is None)
        )
        if trouble is not None:
            return
        with reading(self._context) as reader:
            if reader is not None:
                yield from _figures(reader)


def _figures(reader: Transaction) -> Iterator[Metric]:
    for name, count in _STATES:
        yield _gauge(f"obm_{name}", f"{name} by state", "state", count(reader))
    yield from _ages(ages_report(reader))
    yield from _lanes(lanes_report(reader))
    yield _taken_in(taken_in_by_role(reader))
    yield from _deliveries(reader)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _ages(ages: dict[str, float]) -> Iterator[Metric]:
    oldest = ages.pop("delivery", 0.0)
    yield GaugeMetricFamily(
        "obm_oldest_pending_delivery_seconds", "age of the oldest pending delivery", value=oldest
    )
    yield _gauge("obm_oldest_batch_seconds", "age of the oldest open batch by state", "state", ages)


def _lanes(lanes: list[dict[str, Any]]) -> Iterator[Metric]:
    for column, text in (
        ("pending", "pending requests by lane"),
        ("enqueued_tokens", "tokens at the provider by lane"),
    ):
        labels = ["account", "endpoint", "model"]
        family = GaugeMetricFamily(f"obm_lane_{column}", text, labels=labels)
        for lane in lanes:
            family.add_metric([lane[name] for name in labels], lane[column])
        yield family


def _taken_in(rows: list[dict[str, Any]]) -> Metric:
    family = CounterMetricFamily(
        "obm_taken_in_requests",
        "requests that the pipeline has taken in, ever, by the door they came through",
        labels=["door", "outcome"],
    )
    sums: Counter[tuple[str, str]] = Counter()
    for row in rows:
        door = _DOORS.get(row["role"], row["role"])
        sums.update({(door, outcome): row[outcome] for outcome in _OUTCOMES})
    for labels, count in sums.items():
        family.add_metric(labels, count)
    return family


def _deliveries(reader: Transaction) -> Iterator[Metric]:
    yield _gauge(
        "obm_delivery_attempts",
        "attempts to deliver by outcome, of all deliveries that are kept",
        "outcome",
        attempts_by_outcome(reader),
    )
    at = now()
    yield from _times(
        "obm_delivery_attempt", "how long one attempt took", attempt_times(reader, at=at)
    )
    yield from _times(
        "obm_delivery_delay", "from a result to its delivery", delivery_delays(reader, at=at)
    )


def _times(name: str, text: str, times: list[Times]) -> Iterator[Metric]:
    window = "within the last hour, by kind of destination"
    seconds = GaugeMetricFamily(
        f"{name}_last_hour_seconds", f"{text}, {window}", labels=["kind", "quantile"]
    )
    for row in times:
        for quantile, value in zip(QUANTILES, row.seconds, strict=True):
            seconds.add_metric([row.kind, str(quantile)], value)
    yield seconds
    counts = {row.kind: row.count for row in times}
    yield _gauge(f"{name}_last_hour_count", f"how many those were, {window}", "kind", counts)
