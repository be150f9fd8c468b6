"""Taking requests from a real RabbitMQ, beside the same loop that only writes and acknowledges."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika

from benchmarks.figures import Figure
from benchmarks.processes import Spent, spent_so_far
from storage.received_lines import received_line

if TYPE_CHECKING:
    from broker import Broker

MESSAGES = 50_000
TEXT_BYTES = 1_900
GROUP = 500
PREFETCH = 1_000
RUNS = 3
_PATIENCE_SECONDS = 120.0


def measure() -> list[Figure]:
    """Return how many requests a second are durable; nothing where no broker is installed."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from broker import Broker, programs  # noqa: PLC0415 - the tests' own broker, found just now

    if programs() is None:
        print("rabbitmq-server is not installed: its intake is not measured", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(prefix="obm-intake-") as folder:
        broker = Broker.start(Path(folder) / "broker")
        try:
            return _figures(broker, Path(folder))
        finally:
            broker.stop()


def _figures(broker: "Broker", folder: Path) -> list[Figure]:
    floors, spent = [], []
    for run in range(RUNS):  # in turns: the machine's other load changes from minute to minute
        _fill(broker)
        floors.append(_floor_seconds(broker, folder / f"floor-{run}.jsonl"))
        _fill(broker)
        spent.append(_intake(broker, folder / f"data-{run}"))
    rates = [MESSAGES / each.wall_seconds for each in spent]
    floor_rates = [MESSAGES / seconds for seconds in floors]
    ratio = statistics.median(ours / raw for ours, raw in zip(rates, floor_rates, strict=True))
    cost = statistics.median(each.cpu_seconds for each in spent) / MESSAGES * 1e6
    measure = f"RabbitMQ intake, {MESSAGES:,} messages of 2 KB"
    return [
        Figure(
            measure=measure, name="durable, then acknowledged", value=statistics.median(rates),
            unit="messages/s", target=10_000, more_is_better=True,
            floor=statistics.median(floor_rates),
        ),
        Figure(measure=measure, name="part of the bare loop's rate", value=ratio, unit=""),
        Figure(measure=measure, name="CPU of the consumer", value=cost, unit="µs/message"),
        Figure(
            measure=measure, name="peak memory of the consumer",
            value=max(each.peak_megabytes for each in spent), unit="MB",
        ),
    ]  # fmt: skip


def _fill(broker: "Broker") -> None:
    """Put the messages into a fresh queue; they are all there when this returns."""
    with broker.channel() as channel:
        channel.queue_delete("intake")
    broker.declare_queue("intake")
    persistent = pika.BasicProperties(delivery_mode=2)
    with broker.channel() as channel:
        channel.tx_select()
        for start in range(0, MESSAGES, 1_000):
            for number in range(start, start + 1_000):
                channel.basic_publish("", "intake", _request(number), persistent)
            channel.tx_commit()
    broker.await_count("intake", MESSAGES, timeout_seconds=_PATIENCE_SECONDS)


def _request(number: int) -> bytes:
    content = "x" * TEXT_BYTES
    return (
        f'{{"custom_id":"row-{number:08}","method":"POST","url":"/v1/chat/completions",'
        f'"body":{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"{content}"}}]}}}}'
    ).encode()


def _floor_seconds(broker: "Broker", path: Path) -> float:
    """Return how long consuming, writing, syncing and acknowledging takes, and nothing else."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with broker.channel() as channel:
        channel.basic_qos(prefetch_count=PREFETCH)
        bodies: list[bytes] = []

        def take(_channel: object, method: Any, _properties: object, body: bytes) -> None:
            bodies.append(body)
            if len(bodies) >= GROUP:
                os.write(descriptor, b"\n".join([*bodies, b""]))
                os.fdatasync(descriptor)
                channel.basic_ack(method.delivery_tag, multiple=True)
                bodies.clear()

        began = time.perf_counter()
        channel.basic_consume("intake", take)
        while os.fstat(descriptor).st_size < MESSAGES * len(_request(0) + b"\n"):
            channel.connection.process_data_events(time_limit=1)
        seconds = time.perf_counter() - began
    os.close(descriptor)
    path.unlink()
    return seconds


def _intake(broker: "Broker", data: Path) -> Spent:
    """Return what `obm consume` takes from its first byte in the log to its last."""
    from running_commands import environment_of  # noqa: PLC0415 - of the tests, as the broker is

    environment = environment_of(
        {
            "RABBITMQ_URL": broker.url, "RABBITMQ_INPUT_QUEUE": "intake", "OBM_DATA_DIR": data,
            "OBM_SEAL_SECONDS": 3600, "OBM_SEAL_BYTES": 10_000_000_000,
        }
    )  # fmt: skip
    with _started(environment) as process:
        received = data / "staging" / "receiving"
        _await_bytes(received, 1)
        began, before = time.perf_counter(), spent_so_far(process.pid)
        line = received_line("default", datetime.now(UTC), _request(0))
        _await_bytes(received, MESSAGES * len(line))
        seconds = time.perf_counter() - began
        after = spent_so_far(process.pid)
        broker.await_count("intake", 0, timeout_seconds=_PATIENCE_SECONDS)
    return Spent(
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        wall_seconds=seconds,
        peak_megabytes=after.peak_megabytes,
    )


@contextlib.contextmanager
def _started(environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        ["obm", "consume"], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _await_bytes(folder: Path, size: int) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while sum(path.stat().st_size for path in folder.glob("*.obmlog")) < size:
        if time.monotonic() > end:
            raise TimeoutError("the consumer does not take the messages")
        time.sleep(0.002)
