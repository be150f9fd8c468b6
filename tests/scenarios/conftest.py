"""The whole pipeline against the simulator, step by step, without Prefect around it."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows
from running_commands import environment_of, free_port, started, until

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.until_idle import Cycles
from simulator.process import SimulatorProcess
from storage.directory import DataDirectory
from storage.reports.progress import requests_by_state
from storage.snapshots import snapshot

CHAT = "/v1/chat/completions"


@dataclass(kw_only=True)
class Installation:
    """A data directory, the simulator that it pays, and what came of it."""

    data: Path
    simulator: SimulatorProcess
    settings: Settings

    def drop(self, name: str, requests: list[dict[str, Any]], **side_file: object) -> None:
        """Put a file into the inbox."""
        inbox = self.data / "staging" / "inbox"
        inbox.mkdir(parents=True, exist_ok=True)
        if side_file:
            (inbox / f"{Path(name).stem}.job.json").write_text(json.dumps(side_file))
        (inbox / name).write_text("".join(json.dumps(request) + "\n" for request in requests))

    def run(self, *, timeout_seconds: float = 60, **changes: object) -> int:
        """Run until idle; return the exit code that `obm run` would end with."""
        settings = self.settings.model_copy(update=changes)
        cycles = Cycles(settings, threading.Event(), timeout_seconds=timeout_seconds)
        try:
            return cycles.run(plain_flows())
        except ConfigurationError:
            return 2

    @property
    def states(self) -> dict[str, int]:
        """How many requests are in which state."""
        with snapshot(DataDirectory(self.data), max_age_seconds=0) as reader:
            return requests_by_state(reader)

    def results(self, job: str, name: str = "results.jsonl") -> list[dict[str, Any]]:
        """Return the delivered lines of a job."""
        path = self.data / "outbox" / job / name
        return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


@pytest.fixture(scope="session")
def session_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """Keep one simulator for the session; every installation has its own account there."""
    with SimulatorProcess(tmp_path_factory.mktemp("simulator"), accounts_by_key=True) as simulator:
        yield simulator


@pytest.fixture
def installation(tmp_path: Path, session_simulator: SimulatorProcess) -> Iterator[Installation]:
    """Give a new installation whose waits are short."""
    settings = Settings(
        _env_file=None,
        openai_api_key=f"key-{tmp_path.name}",
        openai_base_url=session_simulator.url,
        data_dir=tmp_path / "data",
        file_stable_seconds=0,
        capacity_backoff_seconds=0.3,
        capacity_backoff_max_seconds=1,
        submit_proof_seconds=2,
        results_grace_seconds=2,
        lost_batch_seconds=1,
        create_timeout_seconds=1.5,
        file_not_found_seconds=1,
        poll_min_seconds=0.1,
        poll_max_seconds=0.1,
    )
    yield Installation(data=tmp_path / "data", simulator=session_simulator, settings=settings)
    session_simulator.release()
    session_simulator.clear_scenarios()


@pytest.fixture(scope="session")
def prefect_api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one Prefect server that several commands share."""
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = environment_of(
        {"PREFECT_HOME": folder, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        {"PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db"},
    )
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    log = folder / "server.log"
    with started(command, environment=environment, folder=folder, log=log):
        probe = f"import urllib.request as u; u.urlopen('{url}/health', timeout=2)"
        check = [sys.executable, "-c", probe]
        until(
            lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0, log,
            timeout_seconds=240,
        )  # fmt: skip
        yield url


def chat(custom_id: str, *, model: str = "gpt-4o-mini", text: str | None = None) -> dict[str, Any]:
    """Return a chat request."""
    message = {"role": "user", "content": text or f"What is {custom_id}?"}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": [message]},
    }


@pytest.fixture(name="chat", scope="session")
def chat_fixture() -> Callable[..., dict[str, Any]]:
    return chat
