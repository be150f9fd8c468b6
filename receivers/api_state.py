"""How it is: alive, ready, and in figures."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Lock
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from receivers.context import WebContext, web_context
from receivers.paging import reading
from receivers.views import ERRORS
from storage.delivery_queries import ages_report, deliveries_by_state
from storage.health import read_health
from storage.reports.progress import batches_by_state, lanes_report, requests_by_state

router = APIRouter(tags=["state"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
_CACHE_SECONDS: Final = 5.0
_STATES: Final = (
    ("requests", requests_by_state),
    ("deliveries", deliveries_by_state),
    ("batches", batches_by_state),
)


@router.get("/health")
def show_health() -> dict[str, str]:
    """Return that the process answers."""
    return {"status": "ok"}


@router.get("/ready", response_model=dict[str, Any], responses={503: {"model": dict[str, Any]}})
def show_ready(context: Context) -> Response:
    """Return whether work goes on, and how long ago each outside system last answered."""
    now = datetime.now(UTC)
    pipeline = read_health(context.directory.health, "pipeline")
    answers: dict[str, float] = {}
    for role in ("pipeline", "consumer"):
        said = read_health(context.directory.health, role)
        for system, at in (said.last_answers if said else {}).items():
            age = round((now - at).total_seconds(), 1)
            answers[system] = min(age, answers.get(system, age))
    with reading(context) as reader:
        has_ledger = reader is not None
    is_running = pipeline is not None and pipeline.is_fresh(now)
    is_ready = has_ledger and is_running
    content = {
        "status": "ready" if is_ready else "not_ready",
        "ledger": has_ledger,
        "pipeline": {
            "running": is_running,
            "state": pipeline.state if pipeline else None,
            "message": pipeline.message if pipeline else None,
        },
        "seconds_since_last_answer": answers,
    }
    return Response(
        msgspec.json.encode(content), 200 if is_ready else 503, media_type="application/json"
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def show_metrics(context: Context) -> Response:
    """Return the figures in the text format of Prometheus, at most five seconds old."""
    return Response(_metrics.text(context), media_type=CONTENT_TYPE_LATEST)


class _Figures(Collector):
    """Reads all figures from one view of the ledger."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        with reading(self._context) as reader:
            if reader is None:
                return
            for name, count in _STATES:
                family = GaugeMetricFamily(f"obm_{name}", f"{name} by state", labels=["state"])
                for state, number in count(reader).items():
                    family.add_metric([state], number)
                yield family
            yield from _ages(ages_report(reader))
            yield from _lanes(lanes_report(reader))


def _ages(ages: dict[str, float]) -> Iterator[Metric]:
    oldest = ages.pop("delivery", 0.0)
    yield GaugeMetricFamily(
        "obm_oldest_pending_delivery_seconds", "age of the oldest pending delivery", value=oldest
    )
    family = GaugeMetricFamily(
        "obm_oldest_batch_seconds", "age of the oldest open batch by state", labels=["state"]
    )
    for state, age in ages.items():
        family.add_metric([state], age)
    yield family


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


class _Metrics:
    """Keeps the text of the figures for some seconds, by data directory."""

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
                registry.register(_Figures(context))
                text = generate_latest(registry)
                self._texts[key] = (time.monotonic(), text)
            return text


_metrics = _Metrics()
