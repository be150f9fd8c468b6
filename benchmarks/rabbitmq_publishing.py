"""Publishing to a real RabbitMQ, beside a socket that is fed with ready-made frames."""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from batching.push_options import RabbitMQRoute
from benchmarks.figures import Figure
from benchmarks.processes import spent_so_far
from benchmarks.raw_amqp import RawPublisher, frames_of
from clients.rabbitmq import Outgoing, RabbitMQPublisher
from clients.rabbitmq_messages import Properties

if TYPE_CHECKING:
    from broker import Broker

MESSAGES = 50_000
BODY = b'{"custom_id":"' + b"x" * 2_030 + b'"}'
WINDOW = 5_000
RUNS = 3
_CHUNK = 1_000
"""Messages a call, as the delivery hands them over."""


def measure() -> list[Figure]:
    """Return how many messages a second are confirmed; nothing where no broker is installed."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from broker import Broker, programs  # noqa: PLC0415 - the tests' own broker, found just now

    if programs() is None:
        print("rabbitmq-server is not installed: publishing is not measured", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(prefix="obm-broker-") as folder:
        broker = Broker.start(Path(folder))
        try:
            return _figures(broker)
        finally:
            broker.stop()


def _figures(broker: "Broker") -> list[Figure]:
    floors, rates, costs, broker_costs = [], [], [], []
    for _ in range(RUNS):  # in turns: the machine's other load changes from minute to minute
        floors.append(raw_rate(broker))
        began, began_broker = time.process_time(), spent_so_far(broker.pid).cpu_seconds
        rates.append(_rate(broker))
        costs.append((time.process_time() - began) / MESSAGES * 1e6)
        spent = spent_so_far(broker.pid).cpu_seconds - began_broker
        broker_costs.append(spent / MESSAGES * 1e6)
    measure = f"RabbitMQ, {MESSAGES:,} messages of 2 KB"
    ratio = statistics.median(ours / raw for ours, raw in zip(rates, floors, strict=True))
    return [
        Figure(
            measure=measure, name="published and confirmed", value=statistics.median(rates),
            unit="messages/s", target=8_000, more_is_better=True, floor=statistics.median(floors),
        ),
        Figure(
            measure=measure, name="part of the raw socket's rate", value=ratio, unit="",
            target=0.6, more_is_better=True,
        ),
        Figure(
            measure=measure, name="CPU of the publisher", value=statistics.median(costs),
            unit="µs/message",
        ),
        Figure(
            measure=measure, name="CPU of the broker", value=statistics.median(broker_costs),
            unit="µs/message",
        ),
    ]  # fmt: skip


def raw_rate(broker: "Broker", *, body: bytes = BODY, messages: int = MESSAGES) -> float:
    """Return the messages a second of a socket that is fed with ready-made frames."""
    queue = broker.declare_queue("raw")
    frames = [frames_of(queue, body, Properties(_message(number))) for number in range(messages)]
    with RawPublisher(broker.port) as publisher:
        publisher.publish(frames[:100], window=WINDOW)
        seconds = publisher.publish(frames, window=WINDOW)
    broker.delete_queue(queue)
    return messages / seconds


def _rate(broker: "Broker") -> float:
    queue = broker.declare_queue("published")
    route = RabbitMQRoute(exchange="", routing_key=queue)
    publisher = RabbitMQPublisher(broker.url, window=WINDOW)
    publisher.publish(route, [_message(number) for number in range(100)]).result()
    began = time.perf_counter()
    futures = [
        publisher.publish(route, [_message(number) for number in range(start, start + _CHUNK)])
        for start in range(0, MESSAGES, _CHUNK)
    ]
    replies = [reply for future in futures for reply in future.result()]
    seconds = time.perf_counter() - began
    publisher.close()
    broker.delete_queue(queue)
    if not all(reply.is_success for reply in replies):
        raise RuntimeError("not every message was confirmed")
    return MESSAGES / seconds


def _message(number: int) -> Outgoing:
    name = f"{number:08}"
    return Outgoing(key=f"obm-{name}-{name}", body=BODY, request_id=name, custom_id=f"row-{name}")
