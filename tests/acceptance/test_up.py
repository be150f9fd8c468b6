"""`obm up` as an operator runs it: a dropped file comes back, and a signal ends everything."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from simulator.process import SimulatorProcess

REQUESTS = 120
WAIT_SECONDS = 240.0


def eventually(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not fact():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def asked(port: int, path: str, body: object) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def runs(port: int, **state: object) -> list[dict[str, Any]]:
    wanted: dict[str, object] = {"limit": 200}
    if state:
        wanted["flow_runs"] = {"state": state}
    found: list[dict[str, Any]] = asked(port, "/flow_runs/filter", wanted)
    return found


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path / "simulator") as running:
        yield running


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_up_delivers_a_dropped_file_and_a_signal_ends_everything(
    stop_signal: signal.Signals, tmp_path: Path, simulator: SimulatorProcess
) -> None:
    data, port = tmp_path / "data", free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT")
    } | {
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": simulator.url,
        "OBM_DATA_DIR": str(data),
        "OBM_PREFECT_PORT": str(port),
        "OBM_PORT": "0",
        "OBM_DASHBOARD_PORT": "0",
        "OBM_BATCH_MAX_WAIT": "0",
        "OBM_FILE_STABLE_SECONDS": "0.3",
        "OBM_POLL_MIN": "1",
        "OBM_INTERVAL_INGEST": "5",
    }
    command = [sys.executable, "-m", "deployments.cli", "up"]
    up = subprocess.Popen(command, env=environment, start_new_session=True, cwd=tmp_path)
    try:
        eventually((data / "staging" / "inbox").exists, "the inbox")
        requests = [
            {
                "custom_id": f"up-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "gpt-4o-mini",
                    "messages": [{"role": "user", "content": f"{stop_signal} {number}"}],
                },
            }
            for number in range(REQUESTS)
        ]
        text = "".join(json.dumps(request) + "\n" for request in requests)
        (data / "staging" / "inbox" / "work.jsonl").write_text(text)

        eventually((data / "outbox" / "work" / "summary.json").exists, "the summary")
        lines = (data / "outbox" / "work" / "results.jsonl").read_text().splitlines()
        delivered = Counter(json.loads(line)["custom_id"] for line in lines)
        assert delivered == Counter(request["custom_id"] for request in requests)
        assert simulator.counters()["batches_created"] == 1

        eventually(
            lambda: any(run["auto_scheduled"] for run in runs(port, type={"any_": ["COMPLETED"]})),
            "a scheduled run",
        )
        assert all(run["deployment_id"] for run in runs(port, type={"any_": ["COMPLETED"]}))
        family = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]

        up.send_signal(stop_signal)
        assert up.wait(timeout=12) == 0
        _, alive = psutil.wait_procs(family, timeout=1)
        assert not alive
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
    assert left_open(data) == 0


def left_open(data: Path) -> int:
    """Return how many runs the Prefect server's own database still shows as running."""
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(data / "prefect" / "prefect.db") as database:
        row = database.execute(
            "SELECT count(*) FROM flow_run WHERE state_type IN ('RUNNING', 'PENDING', 'CANCELLING')"
        ).fetchone()
    return int(row[0])
