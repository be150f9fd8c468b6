"""The same deployments under `prefect.serve` and in a work pool."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.settings import PREFECT_API_URL, temporary_settings

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(180)]

Eventually = Callable[..., None]


@contextmanager
def running(*command: str, folder: Path, api_url: str) -> Iterator[None]:
    """Keep a command running, and end all that came from it."""
    here = str(Path(__file__).parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]),
        "PREFECT_API_URL": api_url,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "OBM_DATA_DIR": str(folder / "data"),
        "OBM_INTERVAL_INGEST": "2",
        **{f"OBM_INTERVAL_{name}": "0" for name in ("SUBMIT", "TRACK", "DELIVER", "UPKEEP")},
    }
    with (folder / "output.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        if process.poll() is not None:
            assert process.returncode == 0, (folder / "output.log").read_text()
    finally:
        family = [process.pid, *[p.pid for p in _children(process.pid)]]
        for pid in family:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []


@pytest.fixture
def client(prefect_server: Any) -> Iterator[SyncPrefectClient]:
    values = {PREFECT_API_URL: prefect_server.api_url}
    with temporary_settings(values), get_client(sync_client=True) as client:
        yield client
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)


def completed_scheduled_runs(client: SyncPrefectClient) -> int:
    ours = DeploymentFilter.model_validate({"name": {"any_": ["ingest"]}})
    runs = client.read_flow_runs(deployment_filter=ours, limit=100)
    return sum(
        1 for run in runs if run.auto_scheduled and run.state and run.state.name == "Completed"
    )


def test_the_deployments_run_under_prefect_serve(
    client: SyncPrefectClient, prefect_server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    url = prefect_server.api_url
    with running("sample_serving", "serve", folder=tmp_path, api_url=url):
        eventually(lambda: completed_scheduled_runs(client) > 0, 120)
    assert (tmp_path / "data" / "locks" / "ingest.lock").exists()


def test_the_deployments_run_in_a_work_pool(
    client: SyncPrefectClient, prefect_server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    url = prefect_server.api_url
    client.create_work_pool(WorkPoolCreate(name="sample-pool", type="process"))
    worker = ("prefect", "worker", "start", "--pool", "sample-pool", "--type", "process")
    with (
        running("sample_serving", "deploy", "sample-pool", folder=tmp_path, api_url=url),
        running(*worker, folder=tmp_path, api_url=url),
    ):
        eventually(lambda: completed_scheduled_runs(client) > 0, 120)
    assert (tmp_path / "data" / "locks" / "ingest.lock").exists()
