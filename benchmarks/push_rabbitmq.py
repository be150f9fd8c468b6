"""Results from the ledger to a quorum queue of a real RabbitMQ, beside a raw socket."""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.push_ledger import Waiting, results_waiting
from benchmarks.rabbitmq_publishing import BODY, raw_rate

if TYPE_CHECKING:
    from broker import Broker

RESULTS = 50_000
RUNS = 3
QUEUE = "results"
_PATIENCE_SECONDS = 60.0


def measure() -> list[Figure]:
    """Return how many results a second a queue has; nothing where no broker is installed."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from broker import Broker, programs  # noqa: PLC0415 - the tests' own broker, found just now

    if programs() is None:
        print("rabbitmq-server is not installed: delivery is not measured", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(prefix="obm-broker-") as folder:
        broker = Broker.start(Path(folder))
        try:
            return _figures(broker)
        finally:
            broker.stop()


def _figures(broker: "Broker") -> list[Figure]:
    destination = json.dumps({"type": "rabbitmq", "rabbitmq_queue": QUEUE})
    waiting = [Waiting(destination=destination, results=RESULTS)]
    floors, found = [], []
    with results_waiting(waiting, rabbitmq_url=broker.url, result_bytes=len(BODY)) as push:
        for _ in range(RUNS):  # in turns: the machine's other load changes all the time
            floors.append(raw_rate(broker, body=BODY, messages=RESULTS))
            broker.declare_queue(QUEUE)
            found.append(push())
            broker.await_count(QUEUE, RESULTS, timeout_seconds=_PATIENCE_SECONDS)
            broker.delete_queue(QUEUE)
    measure = f"RabbitMQ delivery, {RESULTS:,} results of 2 KB, quorum queue"
    ratios = [pushed.rate / raw for pushed, raw in zip(found, floors, strict=True)]
    return [
        Figure(
            measure=measure, name="from the ledger, confirmed and recorded", unit="results/s",
            value=statistics.median(pushed.rate for pushed in found), target=8_000,
            more_is_better=True, floor=statistics.median(floors),
        ),
        Figure(
            measure=measure, name="part of the raw socket's rate", unit="", target=0.6,
            value=statistics.median(ratios), more_is_better=True,
        ),
        Figure(
            measure=measure, name="CPU of the process", unit="µs/result",
            value=statistics.median(pushed.microseconds_each for pushed in found),
        ),
    ]  # fmt: skip
