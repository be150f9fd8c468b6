"""The doors of a running system: requests over REST and RabbitMQ, results at webhook and queue."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from broker import Broker, broker  # noqa: F401 - a fixture
from running_commands import environment_of, free_port
from web_receiver import WebReceiver

from simulator.process import SimulatorProcess

WAIT_SECONDS = 240.0
MODEL = "gpt-4o-mini"


def request_of(custom_id: str, delivery_config: dict[str, str]) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": MODEL, "messages": [{"role": "user", "content": custom_id}]},
        "delivery_config": delivery_config,
    }


def eventually(fact: Callable[[], Any], what: str, log: Path) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := fact()):
        assert time.monotonic() < deadline, f"{what} did not happen\n{log.read_text()[-4000:]}"
        time.sleep(0.2)
    return found


def called(url: str, body: object | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=kind)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, None


@contextmanager
def running(folder: Path, simulator: SimulatorProcess, **settings: object) -> Iterator[str]:
    """Run `obm up` until everything is there, and give the address of its API."""
    port, log = free_port(), folder / "up.log"
    environment = environment_of(
        {
            "OPENAI_API_KEY": "any",
            "OPENAI_BASE_URL": simulator.url,
            "OBM_DATA_DIR": folder / "data",
            "OBM_PORT": port,
            "OBM_DASHBOARD_PORT": 0,
            "OBM_PREFECT_PORT": free_port(),
            "OBM_BATCH_MAX_WAIT": 0,
            "OBM_POLL_MIN": 1,
            "OBM_SEAL_SECONDS": 1,
            "OBM_INTERVAL_INGEST": 3,
            "OBM_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
        },
        settings,
    )
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "up"],
            env=environment, cwd=folder, start_new_session=True, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: "is running" in log.read_text(), "the start", log)
        yield address
        up.send_signal(signal.SIGTERM)
        assert up.wait(timeout=15) == 0, log.read_text()[-4000:]
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.timeout(600)
def test_a_request_over_rest_comes_back_at_a_webhook(tmp_path: Path) -> None:
    with (
        SimulatorProcess(tmp_path / "simulator") as simulator,
        WebReceiver() as receiver,
        running(tmp_path, simulator) as address,
    ):
        request = request_of("a-1", {"type": "webhook", "webhook_url": receiver.url("/results")})
        assert called(f"{address}/api/requests", request) == (202, {"custom_id": "a-1"})

        log = tmp_path / "up.log"
        eventually(lambda: receiver.count >= 1, "the webhook", log)
        (received,) = receiver.received()
        assert received.json["custom_id"] == "a-1"
        assert received.json["response"]["status_code"] == 200

        state = eventually(
            lambda: (
                (found := called(f"{address}/api/requests/a-1")[1])["delivery_state"] == "delivered"
                and found
            ),
            "the record of the delivery",
            log,
        )
        assert state["state"] == "succeeded"
        assert state["result"]["custom_id"] == "a-1"
        assert [attempt["outcome"] for attempt in state["delivery_attempts"]] == ["success"]
        repeated = called(f"{address}/api/requests", request)
        assert repeated == (202, {"custom_id": "a-1", "duplicate": True})
        assert simulator.counters()["batches_created"] == 1


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.timeout(600)
def test_a_message_on_a_queue_comes_back_on_a_queue(
    tmp_path: Path,
    broker: Broker,  # noqa: F811 - the fixture
) -> None:
    for queue in ("doors.requests", "doors.answers"):
        broker.declare_queue(queue)
    settings = {"RABBITMQ_URL": broker.url, "RABBITMQ_INPUT_QUEUE": "doors.requests"}
    config = {"type": "rabbitmq", "rabbitmq_queue": "doors.answers"}
    with (
        SimulatorProcess(tmp_path / "simulator") as simulator,
        running(tmp_path, simulator, **settings),
    ):
        wanted = {f"m-{number}" for number in range(20)}
        bodies = [json.dumps(request_of(name, config)).encode() for name in sorted(wanted)]
        broker.publish("doors.requests", b"[]", *bodies)

        log = tmp_path / "up.log"
        eventually(lambda: broker.count("doors.answers") >= len(wanted), "the answers", log)
        answers = broker.take_all("doors.answers")
        assert {json.loads(body)["custom_id"] for _, body in answers} == wanted
        assert len({properties.message_id for properties, _ in answers}) == len(wanted)
        assert broker.count("doors.requests") == 0
        rejected = (tmp_path / "data" / "staging" / "rejected").glob("rabbitmq*")
        assert sum(len(path.read_text().splitlines()) for path in rejected) == 1
