"""SIGKILL of every role and of the broker at random moments, while requests come and go.

What was acknowledged is answered and delivered, at least once, each result under one key.
"""

import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pika
import pytest
from broker import Broker, own_broker  # noqa: F401 - a fixture
from running_commands import environment_of, free_port
from web_receiver import WebReceiver

from simulator.process import SimulatorProcess
from storage.directory import DataDirectory
from storage.snapshots import snapshot

KILLS = 25
PIPELINE = Path(__file__).parent.parent / "plain_pipeline.py"
INTAKE, ANSWERS = "kills.requests", "kills.answers"
SETTLE_SECONDS = 120.0


@dataclass
class Role:
    """A process that is killed and started again."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Clients:
    """Two programs that bring requests and insist until they are acknowledged."""

    web_url: str
    broker_url: str
    webhook_url: str
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
                if self.over.wait(0.03):
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
            time.sleep(0.03)


@contextmanager
def threads(*targets: Callable[[], None]) -> Iterator[None]:
    running = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in running:
        thread.start()
    yield
    for thread in running:
        thread.join(20)
        assert not thread.is_alive()


def undelivered(data: Path, wanted: set[str]) -> set[str]:
    with snapshot(DataDirectory(data), max_age_seconds=0) as reader:
        rows = reader.rows(
            "SELECT DISTINCT custom_id FROM deliveries JOIN requests USING (segment, row_index) "
            "WHERE deliveries.state = 'delivered'"
        )
    return wanted - {row["custom_id"] for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_of_every_role_and_the_broker_lose_nothing_that_was_acknowledged(
    tmp_path: Path,
    own_broker: Broker,  # noqa: F811 - the fixture
) -> None:
    chance = random.Random(7)  # noqa: S311 - a seeded test
    broker, data, port = own_broker, tmp_path / "data", free_port()
    for queue in (INTAKE, ANSWERS):
        broker.declare_queue(queue)
    time.sleep(2)  # a quorum queue that is killed right after its declaration is gone
    with ExitStack() as stack:
        simulator = stack.enter_context(SimulatorProcess(tmp_path / "simulator"))
        receiver = stack.enter_context(WebReceiver())
        environment = environment_of(
            {
                "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": simulator.url, "OBM_DATA_DIR": data,
                "OBM_PORT": port, "OBM_POLL_MIN": 0.1, "OBM_POLL_MAX": 0.2,
                "OBM_SUBMIT_PROOF_SECONDS": 2, "OBM_SEAL_SECONDS": 0.5,
                "OBM_INTERVAL_INGEST": 1, "RABBITMQ_URL": broker.url,
                "RABBITMQ_INPUT_QUEUE": INTAKE, "OBM_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
            }
        )  # fmt: skip
        obm = [sys.executable, "-W", "ignore", "-m", "deployments.cli"]
        roles = {
            "web": Role([*obm, "web"], environment, tmp_path / "web.log"),
            "consumer": Role([*obm, "consume"], environment, tmp_path / "consumer.log"),
            "pipeline": Role(
                [sys.executable, "-W", "ignore", str(PIPELINE), "--forever"],
                environment, tmp_path / "pipeline.log",
            ),
        }  # fmt: skip
        for role in roles.values():
            role.start()
            stack.callback(role.stop)
        url = f"http://127.0.0.1:{port}"
        clients = Clients(url, broker.url, receiver.url("/results"))
        with threads(clients.post, clients.publish):
            for _ in range(KILLS):
                for name in chance.sample(sorted(roles), len(roles)):
                    time.sleep(chance.uniform(0.3, 2.0))
                    roles[name].kill()
                broker.kill9()
                broker.restart()
            clients.over.set()

        wanted = set(clients.acknowledged)
        deadline = time.monotonic() + SETTLE_SECONDS
        while (missing := undelivered(data, wanted)) and time.monotonic() < deadline:
            time.sleep(1)
        assert not missing, f"{len(missing)} of {len(wanted)} are missing"

        keys: dict[str, set[str]] = defaultdict(set)
        for received in receiver.received():
            keys[received.json["custom_id"]].add(received.headers["idempotency-key"])
        for properties, body in broker.take_all(ANSWERS):
            keys[json.loads(body)["custom_id"]].add(properties.message_id)
        assert wanted <= keys.keys()
        assert {custom_id: len(found) for custom_id, found in keys.items() if len(found) > 1} == {}
        counters = simulator.counters()
        assert counters["lines_paid_more_than_once"] == 0
        assert len(wanted) > 4 * KILLS
