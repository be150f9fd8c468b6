"""A real Prefect server for the session, and runners and pipelines that use it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from deployments.children import Child, stop_all
from deployments.prefect_server import PrefectServer, choose_server, client_environment
from storage.directory import DataDirectory
from storage.health import read_health

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # sample_flows must be importable by its module name

WAIT_SECONDS = 60.0


def eventually(fact: Callable[[], object], within_seconds: float = WAIT_SECONDS) -> None:
    """Wait until the fact holds; fail if it does not within a generous time."""
    deadline = time.monotonic() + within_seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(name="eventually", scope="session")
def eventually_fixture() -> Callable[..., None]:
    return eventually


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Keep one server for the whole session; give what is needed to reach it."""
    server = choose_server(DataDirectory(tmp_path_factory.mktemp("session")), 0)
    child = Child(server.role())
    child.start()
    try:
        eventually(lambda: child.is_ready, 120)
        # Read by prefect when a test imports it; the settings of a test come from there.
        os.environ.update(client_environment(server))
        yield server
    finally:
        stop_all([child], 10)
        for name in client_environment(server):
            os.environ.pop(name, None)


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a server that has run once: a new database takes ten seconds."""
    server = choose_server(DataDirectory(tmp_path_factory.mktemp("template")), 0)
    child = Child(server.role())
    child.start()
    eventually(lambda: child.is_ready, 120)
    stop_all([child], 10)
    return server.directory.prefect


@dataclass
class Pipeline:
    """A pipeline in its own process, as an operator would start it."""

    data: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, mode: str, schedules: str, **environment: str) -> None:
        self.environment = {
            **{name: value for name, value in os.environ.items() if "PREFECT" not in name},
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "OBM_DATA_DIR": str(self.data),
            "OBM_PREFECT_PORT": "0",
            "OBM_PORT": "0",
            "OBM_DASHBOARD_PORT": "0",
            "SAMPLE_SCHEDULES": schedules,
            "TRACE_FOLDER": str(self.data),
            **environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sample_pipeline", mode],
                env=self.environment,
                cwd=self.data,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def family(self) -> list[psutil.Process]:
        """Return the process and all that came from it."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def child(self, word: str) -> psutil.Process:
        """Return the process below ours whose command line has this word."""
        eventually(lambda: any(_has(process, word) for process in self.family()[1:]))
        return next(process for process in self.family()[1:] if _has(process, word))

    def is_running(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        health = read_health(self.data / "health", "pipeline")
        return health is not None and health.state == "running"

    def trace(self, flow: str) -> list[str]:
        """Return a line for each time that this flow was entered."""
        path = self.data / flow
        return path.read_text().splitlines() if path.exists() else []

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(60)

    def run_states(self) -> list[tuple[str, str]]:
        """Return type and name of each flow run's state, read from the server's own file."""
        connection = sqlite3.connect(self.data / "prefect" / "prefect.db")
        try:
            rows = connection.execute("SELECT state_type, state_name FROM flow_run").fetchall()
        finally:
            connection.close()
        return [(str(kind), str(name)) for kind, name in rows]


def _has(process: psutil.Process, word: str) -> bool:
    try:
        return word in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


@pytest.fixture
def pipeline(tmp_path: Path, migrated_home: Path) -> Iterator[Pipeline]:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copytree(migrated_home, data / "prefect")
    started = Pipeline(data=data, log=tmp_path / "pipeline.log")
    yield started
    if started.process is not None and started.process.poll() is None:
        family = started.family()
        started.send(signal.SIGKILL)
        started.process.wait()
        for process in family[1:]:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family[1:], 10)
