"""A real RabbitMQ broker of one's own: it needs no service, touches no system folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pika.exceptions import AMQPError
from running_commands import environment_of, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pika.adapters.blocking_connection import BlockingChannel

LONGEST_START_SECONDS = 90.0
CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
disk_free_limit.absolute = 100MB
vm_memory_high_watermark.absolute = 2GB
log.console = false
log.file.level = info
"""
QUORUM = {"x-queue-type": "quorum"}


def programs() -> Path | None:
    """The folder of rabbitmq-server and rabbitmqctl; /usr/sbin has wrappers that change user."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    return found[-1] if found else None


class Broker:
    """One broker on free ports, with everything that it keeps under one folder.

    A quorum queue that is killed within about 1 s of its declaration is gone after the
    restart: wait 2 s between declaring and `kill9`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._distribution, self._names = free_port(), free_port(), free_port()
        for name in ("home", "mnesia", "log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "enabled_plugins").write_text("[].", encoding="utf-8")
        (folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port), "utf-8")

    @classmethod
    def start(cls, folder: Path) -> Broker:
        """Return a broker that answers (6 to 8 s)."""
        started = cls(folder)
        started.restart()
        return started

    @property
    def url(self) -> str:
        return self.url_of("guest", "guest")

    def url_of(self, user: str, password: str, vhost: str = "%2F") -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{vhost}"

    def restart(self) -> None:
        """Start it on what its folder holds; it must not be running."""
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "output.txt").open("ab") as output:
            shell = subprocess.Popen(
                [self._program("rabbitmq-server")], env=self._environment(), stdout=output,
                stderr=output, stdin=subprocess.DEVNULL, start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        try:
            self._await_answer(shell)
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            raise
        self._shell = shell

    def stop(self) -> None:
        """Stop it in good order, with the name daemon that it started; nothing if it is down."""
        if self.runs:
            self.ctl("stop", str(self.folder / "pid"))
            self._shell.wait(30)
        subprocess.run(
            ["epmd", "-port", str(self._names), "-kill"],
            env=self._environment(), capture_output=True, check=False, timeout=30,
        )  # fmt: skip

    def kill9(self) -> None:
        """Kill the Erlang machine, as a power cut would; `restart` brings it back."""
        os.kill(self.pid, signal.SIGKILL)
        self._shell.wait(30)

    def pause(self) -> None:
        """Let it hang: it takes connections and bytes, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Process id of the Erlang machine."""
        return int((self.folder / "pid").read_text("utf-8"))

    @property
    def runs(self) -> bool:
        return self._shell.poll() is None

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl (about 0.5 s) and return what it says."""
        finished = subprocess.run(
            [self._program("rabbitmqctl"), "-q", *arguments], env=self._environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if finished.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments}: {finished.stdout}{finished.stderr}")
        return finished.stdout

    def add_user(self, user: str, password: str, *, configure: str, write: str, read: str) -> str:
        """Add a user with these permissions (regular expressions) and return its URL."""
        self.ctl("add_user", user, password)
        self.ctl("set_permissions", "-p", "/", user, configure, write, read)
        return self.url_of(user, password)

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Block every publishing connection, as a broker short of memory does."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "20MB")
        try:
            yield
        finally:
            self.ctl("set_vm_memory_high_watermark", "absolute", "2GB")

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """Open a blocking channel of its own connection."""
        parameters = pika.URLParameters(self.url)
        parameters.socket_timeout = 5
        connection = pika.BlockingConnection(parameters)
        try:
            yield connection.channel()
        finally:
            with suppress(AMQPError):
                connection.close()

    def declare_queue(self, name: str, arguments: Mapping[str, Any] | None = None) -> str:
        """Declare a durable queue, a quorum one unless arguments are given."""
        with self.channel() as channel:
            channel.queue_declare(name, durable=True, arguments=dict(arguments or QUORUM))
        return name

    def declare_exchange(self, name: str, kind: str = "direct", **bindings: str) -> str:
        """Declare a durable exchange; bindings are queue="routing key" of existing queues."""
        with self.channel() as channel:
            channel.exchange_declare(name, kind, durable=True)
            for queue, routing_key in bindings.items():
                channel.queue_bind(queue, name, routing_key)
        return name

    def delete_queue(self, name: str) -> None:
        with self.channel() as channel:
            channel.queue_delete(name)

    def delete_exchange(self, name: str) -> None:
        with self.channel() as channel:
            channel.exchange_delete(name)

    def publish(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        """Publish persistent messages to a queue, each of them confirmed."""
        with self.channel() as channel:
            channel.confirm_delivery()
            for body in bodies:
                known = pika.BasicProperties(delivery_mode=2, **properties)
                channel.basic_publish("", queue, body, known, mandatory=True)

    def count(self, queue: str) -> int:
        """Return how many messages wait in the queue (a quorum queue may tell it late)."""
        with self.channel() as channel:
            waiting: int = channel.queue_declare(queue, passive=True).method.message_count
            return waiting

    def await_count(self, queue: str, expected: int, *, timeout_seconds: float = 20) -> None:
        """Wait until the queue holds so many messages; fail with the number that it holds."""
        self.until(lambda: self.count(queue) == expected, timeout_seconds=timeout_seconds)

    def take_all(self, queue: str) -> list[tuple[Any, bytes]]:
        """Take every message out of the queue: (properties, body) of each."""
        with self.channel() as channel:
            return list(_taken(channel, queue))

    @staticmethod
    def until(holds: Callable[[], bool], *, timeout_seconds: float = 20) -> None:
        """Wait until something holds."""
        end = time.monotonic() + timeout_seconds
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"it did not come true within {timeout_seconds} s")
            time.sleep(0.05)

    def _await_answer(self, shell: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + LONGEST_START_SECONDS
        while time.monotonic() < end and shell.poll() is None:
            with suppress(AMQPError, OSError), self.channel():
                return
            time.sleep(0.2)
        said = (self.folder / "output.txt").read_text("utf-8", errors="replace")[-2_000:]
        raise RuntimeError(f"the broker did not start; it said: {said}")

    @staticmethod
    def _program(name: str) -> str:
        folder = programs()
        if folder is None:
            raise RuntimeError("rabbitmq-server is not installed")
        return str(folder / name)

    def _environment(self) -> dict[str, str]:
        folder, address = self.folder, "127.0.0.1"
        own = {
            "HOME": folder / "home",  # a cookie of its own
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": self._names,
            "ERL_EPMD_ADDRESS": address,
            "RABBITMQ_NODENAME": "obmtest@localhost",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self._distribution,
            "RABBITMQ_NODE_IP_ADDRESS": address,
            "RABBITMQ_MNESIA_BASE": folder / "mnesia",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "enabled_plugins",
            "RABBITMQ_PID_FILE": folder / "pid",
            "RABBITMQ_CONF_ENV_FILE": folder / "none.conf",  # it is not there: /etc is ignored
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        return environment_of(own)


def _taken(channel: BlockingChannel, queue: str) -> Iterator[tuple[Any, bytes]]:
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.3):
        if method is None:
            channel.cancel()
            return
        yield properties, body


_started: list[Broker] = []
"""At most one: every conftest that imports the fixture gets the same broker."""


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Broker:
    """A broker for the whole session: use queue names of your own, leave it running."""
    if programs() is None:
        pytest.skip("rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)")
    if not _started:
        folder = tmp_path_factory.mktemp("broker")
        _started.append(Broker.start(folder))
        request.config.add_cleanup(lambda: _end(_started.pop()))
    return _started[0]


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test alone, which may kill it (6 to 8 s to start)."""
    if programs() is None:
        pytest.skip("rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)")
    started = Broker.start(tmp_path / "broker")
    yield started
    _end(started)


def _end(broker: Broker) -> None:
    broker.stop()
    shutil.rmtree(broker.folder, ignore_errors=True)
