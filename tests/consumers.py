"""The consumer under test: in a thread of the test, or as the real `obm consume`."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from factories import chat_line
from pika import BasicProperties
from running_commands import environment_of

from batching.settings import Settings
from receivers.rabbitmq import RabbitMQIntake
from storage.directory import DataDirectory
from storage.health import read_health
from storage.intake_log import lines_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from broker import Broker

    from storage.received_lines import ReceivedLine

PATIENCE_SECONDS = 40.0


def until(holds: Callable[[], bool], *, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < end, f"it did not come true within {timeout_seconds} s"
        time.sleep(0.05)


class Intake:
    """What a consumer has left in a data directory, whoever runs it."""

    def __init__(self, directory: DataDirectory) -> None:
        self.directory = directory

    @property
    def received(self) -> list[ReceivedLine]:
        return list(lines_waiting(self.directory))

    @property
    def received_ids(self) -> list[str]:
        return [json.loads(line.line)["custom_id"] for line in self.received]

    @property
    def received_bytes(self) -> int:
        """How much is in the logs; quicker to tell than how many lines."""
        folders = (self.directory.receiving, self.directory.inbox)
        sizes = {path.name: size_of(path) for each in folders for path in each.glob("*.obmlog")}
        return sum(sizes.values())

    @property
    def refused(self) -> list[dict[str, Any]]:
        paths = sorted(self.directory.rejected.glob("rabbitmq-*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]

    @property
    def state(self) -> str | None:
        health = read_health(self.directory.health, "consumer")
        return health.state if health else None

    @property
    def message(self) -> str:
        health = read_health(self.directory.health, "consumer")
        return (health.message or "") if health else ""

    def await_state(self, state: str) -> None:
        until(lambda: self.state == state)

    def await_ids(self, expected: Sequence[str]) -> None:
        until(lambda: sorted(self.received_ids) == sorted(expected))


class ConsumerProcess(Intake):
    """`obm consume` in a process of its own."""

    def __init__(self, root: Path, log: Path, **environment: object) -> None:
        super().__init__(DataDirectory(root))
        self.log = log
        self._environment = environment_of({"OBM_DATA_DIR": root, **environment})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str] = ("obm", "consume")) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, cwd=self.log.parent,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8")

    def kill9(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def await_end(self) -> int:
        assert self._process is not None
        return self._process.wait(20)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(20)

    def end(self) -> None:
        if self.is_alive:
            self.kill9()


@contextmanager
def running_intake(directory: DataDirectory, **values: Any) -> Iterator[Intake]:
    """Run the intake in a thread of this process."""
    directory.create()
    settings = Settings(_env_file=None, data_dir=directory.root, **values)
    intake = RabbitMQIntake(settings, directory)
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            intake.run(stop.is_set)
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Intake(directory)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert failures == []


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has just been handed over
        return 0


def line_of(custom_id: str) -> bytes:
    return chat_line(custom_id, text="x" * 300)


def publish_many(broker: Broker, queue: str, bodies: Sequence[bytes]) -> None:
    """Publish persistent messages quickly; the queue has them all when this returns."""
    with broker.channel() as channel:
        channel.tx_select()
        for start in range(0, len(bodies), 1_000):
            for body in bodies[start : start + 1_000]:
                channel.basic_publish("", queue, body, BasicProperties(delivery_mode=2))
            channel.tx_commit()


def repeated(ids: Sequence[str]) -> set[str]:
    return {name for name, times in Counter(ids).items() if times > 1}


@contextmanager
def filled_disk(folder: Path, *, free_bytes: int = 0) -> Iterator[None]:
    """Take all space but so many bytes of the file system while the block runs."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65_536)
    if free_bytes:
        with ballast.open("rb+") as file:
            file.truncate(max(0, ballast.stat().st_size - free_bytes))
    try:
        yield
    finally:
        ballast.unlink()
