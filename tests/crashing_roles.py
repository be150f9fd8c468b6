"""Roles that are killed and started again, and clients who insist until they are acknowledged."""

import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pika
from broker import Broker
from running_commands import environment_of, free_port
from web_receiver import WebReceiver

from simulator.process import SimulatorProcess
from storage.directory import DataDirectory
from storage.snapshots import snapshot

PIPELINE = Path(__file__).with_name("plain_pipeline.py")
INTAKE, ANSWERS = "kills.requests", "kills.answers"
SETTLE_SECONDS = 180.0
LINES_A_FILE = 5


@dataclass
class Role:
    """A process that is killed and started again."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    kills: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        assert self.process is not None
        self.kills += self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def see_to_it(self) -> None:
        """Start it again if it has ended by itself, as a supervisor would."""
        assert self.process is not None
        if self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Clients:
    """Programs that bring requests and insist until they are acknowledged."""

    web_url: str
    broker_url: str
    webhook_url: str
    inbox: Path
    pause_seconds: float = 0.03
    acknowledged: dict[str, str] = field(default_factory=dict)
    """From custom_id to the way that its result must go."""
    over: threading.Event = field(default_factory=threading.Event)

    def request(self, custom_id: str, delivery_config: dict[str, str]) -> bytes:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": custom_id}]}
        line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
        return json.dumps(line | {"body": body, "delivery_config": delivery_config}).encode()

    def post(self) -> None:
        config = {"type": "webhook", "webhook_url": self.webhook_url}
        with httpx.Client(timeout=10) as client:
            for number in itertools.count():
                custom_id = f"rest-{number}"
                while not self._posted(client, self.request(custom_id, config)):
                    time.sleep(0.05)
                    if self.over.is_set():
                        return
                self.acknowledged[custom_id] = "webhook"
                if self.over.wait(self.pause_seconds):
                    return

    def _posted(self, client: httpx.Client, request: bytes) -> bool:
        try:
            return client.post(f"{self.web_url}/api/requests", content=request).status_code == 202
        except httpx.HTTPError:
            return False

    def publish(self) -> None:
        config = {"type": "rabbitmq", "rabbitmq_queue": ANSWERS}
        numbers = itertools.count()
        pending: list[str] = []
        while not self.over.is_set():
            try:
                with pika.BlockingConnection(pika.URLParameters(self.broker_url)) as connection:
                    self._publish_on(connection.channel(), numbers, pending, config)
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.3)

    def _publish_on(
        self, channel: Any, numbers: Iterator[int], pending: list[str], config: dict[str, str]
    ) -> None:
        channel.confirm_delivery()
        while not self.over.is_set():
            if not pending:
                pending.append(f"queue-{next(numbers)}")
            persistent = pika.BasicProperties(delivery_mode=2)
            body = self.request(pending[0], config)
            channel.basic_publish("", INTAKE, body, persistent, mandatory=True)
            self.acknowledged[pending.pop()] = "rabbitmq"
            time.sleep(self.pause_seconds)

    def drop(self) -> None:
        """Put files into the inbox; what is there under its name is accepted."""
        for number in itertools.count():
            ids = [f"file-{number}-{line}" for line in range(LINES_A_FILE)]
            lines = [self.request(custom_id, {"type": "file"}) + b"\n" for custom_id in ids]
            unfinished = self.inbox / f"dropped-{number}.jsonl.part"
            unfinished.write_bytes(b"".join(lines))
            unfinished.rename(self.inbox / f"dropped-{number}.jsonl")
            self.acknowledged.update(dict.fromkeys(ids, "file"))
            if self.over.wait(LINES_A_FILE * self.pause_seconds * 10):
                return

    def ids(self, way: str) -> set[str]:
        return {custom_id for custom_id, taken in self.acknowledged.items() if taken == way}


@contextmanager
def threads(*targets: Callable[[], None]) -> Iterator[None]:
    running = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in running:
        thread.start()
    yield
    for thread in running:
        thread.join(20)
        assert not thread.is_alive()


@dataclass(kw_only=True)
class Installation:
    """All roles over one data directory, with everything that they talk to."""

    data: Path
    broker: Broker
    simulator: SimulatorProcess
    receiver: WebReceiver
    roles: dict[str, Role]
    clients: Clients
    start_seconds: float
    """How long the roles took until they were at work, on this machine and just now."""
    broker_kills: int = 0

    @property
    def kills(self) -> int:
        """How many processes were killed at work."""
        return self.broker_kills + sum(role.kills for role in self.roles.values())

    def kill_each(self, chance: random.Random, *, broker_too: bool) -> None:
        """Kill every role at a random moment of its start or work, and the broker if wanted."""
        for name in chance.sample(sorted(self.roles), len(self.roles)):
            time.sleep(self.start_seconds * chance.uniform(0.1, 0.8))
            self.roles[name].kill()
        if broker_too:
            self.broker.kill9()
            self.broker_kills += 1
            self.broker.restart()

    def settle(self) -> set[str]:
        """Wait until everything that was acknowledged is delivered; return what is not."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (missing := self._undelivered()) and time.monotonic() < deadline:
            for role in self.roles.values():
                role.see_to_it()
            time.sleep(1)
        return missing

    def _undelivered(self) -> set[str]:
        with snapshot(DataDirectory(self.data), max_age_seconds=0) as reader:
            rows = reader.rows(
                "SELECT DISTINCT custom_id FROM deliveries JOIN requests "
                "USING (segment, row_index) WHERE deliveries.state = 'delivered'"
            )
        pushed = {row["custom_id"] for row in rows}
        return set(self.clients.acknowledged) - pushed - self.in_files().keys()

    def in_files(self) -> Counter[str]:
        """Return how often each custom_id stands in the outbox."""
        found: Counter[str] = Counter()
        for path in (self.data / "outbox").glob("*/results*.jsonl"):
            if path.name != "results.sorted.jsonl":
                # The last line may be one that is just being written.
                lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
                found.update(json.loads(line)["custom_id"] for line in lines)
        return found

    def keys_pushed(self) -> dict[str, set[str]]:
        """Return under which idempotency keys the results of each custom_id were pushed."""
        keys: dict[str, set[str]] = defaultdict(set)
        for received in self.receiver.received():
            keys[received.json["custom_id"]].add(received.headers["idempotency-key"])
        for properties, body in self.broker.take_all(ANSWERS):
            keys[json.loads(body)["custom_id"]].add(properties.message_id)
        return keys


@contextmanager
def all_roles(folder: Path, broker: Broker, **settings: object) -> Iterator[Installation]:
    """Start every role on a new data directory, with simulator and receiver."""
    data, port = folder / "data", free_port()
    for queue in (INTAKE, ANSWERS):
        broker.declare_queue(queue)
    time.sleep(2)  # a quorum queue that is killed right after its declaration is gone
    with ExitStack() as stack:
        simulator = stack.enter_context(SimulatorProcess(folder / "simulator"))
        receiver = stack.enter_context(WebReceiver())
        environment = environment_of(
            {
                "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": simulator.url, "OBM_DATA_DIR": data,
                "OBM_PORT": port, "OBM_POLL_MIN": 0.1, "OBM_POLL_MAX": 0.2,
                "OBM_SUBMIT_PROOF_SECONDS": 2, "OBM_SEAL_SECONDS": 0.5,
                "OBM_INTERVAL_INGEST": 1, "RABBITMQ_URL": broker.url,
                "RABBITMQ_INPUT_QUEUE": INTAKE, "OBM_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
            },
            settings,
        )  # fmt: skip
        obm = [sys.executable, "-W", "ignore", "-m", "deployments.cli"]
        pipeline = [sys.executable, "-W", "ignore", str(PIPELINE), "--forever"]
        commands = {"web": [*obm, "web"], "consumer": [*obm, "consume"], "pipeline": pipeline}
        directory = DataDirectory(data)
        directory.create()
        roles = {
            name: Role(command, environment, folder / f"{name}.log")
            for name, command in commands.items()
        }
        began = time.monotonic()
        for role in roles.values():
            role.start()
            stack.callback(role.stop)
        until_at_work(directory, port)
        clients = Clients(
            f"http://127.0.0.1:{port}", broker.url, receiver.url("/results"), directory.inbox
        )
        yield Installation(
            data=data, broker=broker, simulator=simulator, receiver=receiver, roles=roles,
            clients=clients, start_seconds=time.monotonic() - began,
        )  # fmt: skip


def until_at_work(directory: DataDirectory, port: int) -> None:
    """Return when the pipeline has its ledger and the web process answers."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not (directory.ledger.exists() and answers_at(port)):
        assert time.monotonic() < deadline, "the roles did not start"
        time.sleep(0.1)


def answers_at(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
