"""The very commands that containers run do their work, here as processes of this machine."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_files import healthcheck, image_command, image_environment, service
from running_commands import environment_of, free_port, started, succeeds, until

from simulator.process import SimulatorProcess

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.slow


def _prefect_environment(home: Path, port: int) -> dict[str, str]:
    here = {
        "PREFECT_HOME": home,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
    }
    return environment_of(image_environment(), service("prefect")["environment"], here)


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start what the prefect container starts; wait for it with its own health check."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = _prefect_environment(folder / "home", port)
    log = folder / "prefect.log"
    command = service("prefect")["command"]
    with started(command, environment=environment, folder=folder, log=log):
        until(lambda: succeeds(healthcheck("prefect"), environment, folder), log)
        yield f"http://127.0.0.1:{port}/api"


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path / "simulator") as running:
        yield running


def _pipeline_environment(data: Path, provider: str, **more: str) -> dict[str, str]:
    here = {
        "OBM_DATA_DIR": data, "OPENAI_BASE_URL": provider, "OPENAI_API_KEY": "any",
        "OBM_BATCH_MAX_WAIT": 0, "OBM_POLL_MIN": 0.2, "OBM_POLL_MAX": 1,
        "OBM_FILE_STABLE_SECONDS": 0.2, "OBM_PREFECT_PORT": 0, "OBM_PORT": 0,
    }  # fmt: skip
    return environment_of(image_environment(), service("pipeline")["environment"], here, more)


def _drop(data: Path) -> int:
    """Put an example into the inbox; return how many requests it holds."""
    lines = (EXAMPLES / "product-search.jsonl").read_bytes()
    unfinished = data / "staging" / "inbox" / "product-search.jsonl.part"
    unfinished.write_bytes(lines)
    unfinished.rename(unfinished.with_suffix(""))
    return lines.count(b"\n")


def _summary(data: Path) -> Path:
    return data / "outbox" / "product-search" / "summary.json"


def test_the_pipeline_container_does_its_work_with_the_prefect_container(
    prefect_api: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    data, log = tmp_path / "data", tmp_path / "pipeline.log"
    environment = _pipeline_environment(
        data, simulator.url, PREFECT_API_URL=prefect_api, PREFECT_HOME=str(tmp_path / "home")
    )
    assert not succeeds(healthcheck("pipeline"), environment, tmp_path)
    command = service("pipeline")["command"]
    with started(command, environment=environment, folder=tmp_path, log=log) as process:
        until(lambda: succeeds(healthcheck("pipeline"), environment, tmp_path), log)
        requests = _drop(data)
        until(_summary(data).exists, log)
    assert process.returncode == 0, log.read_text()[-3000:]
    assert json.loads(_summary(data).read_bytes())["requests"] == {"succeeded": requests}
    assert not succeeds(healthcheck("pipeline"), environment, tmp_path)


def test_the_image_alone_runs_everything(simulator: SimulatorProcess, tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "up.log"
    environment = _pipeline_environment(data, simulator.url)
    del environment["PREFECT_API_URL"], environment["PREFECT_HOME"]
    with started(image_command(), environment=environment, folder=tmp_path, log=log) as process:
        until(lambda: "is running" in log.read_text(), log)
        requests = _drop(data)
        until(_summary(data).exists, log)
    assert process.returncode == 0, log.read_text()[-3000:]
    assert json.loads(_summary(data).read_bytes())["requests"] == {"succeeded": requests}


def test_a_pipeline_container_without_a_key_says_so_and_ends(tmp_path: Path) -> None:
    environment = environment_of(service("pipeline")["environment"], {"OBM_DATA_DIR": tmp_path})
    finished = subprocess.run(
        service("pipeline")["command"], env=environment, cwd=tmp_path, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 2
    assert "OPENAI_API_KEY is not set" in finished.stderr


def test_the_health_check_of_the_broker_tells_whether_it_answers(tmp_path: Path) -> None:
    # Behind Debian's wrappers, which change to another user, lie the scripts that the image has.
    path = os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"]])
    if shutil.which("rabbitmq-server", path=path) is None:
        reason = "rabbitmq-server is not installed; .ci/run installs it"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    environment = environment_of(
        {
            "PATH": path, "HOME": tmp_path, "RABBITMQ_NODENAME": f"obm{free_port()}@localhost",
            "RABBITMQ_NODE_PORT": free_port(), "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_MNESIA_BASE": tmp_path / "mnesia", "RABBITMQ_LOG_BASE": tmp_path / "log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": tmp_path / "plugins",
            "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": free_port(),
        }
    )  # fmt: skip
    check, log = healthcheck("rabbitmq"), tmp_path / "broker.log"
    assert not succeeds(check, environment, tmp_path)
    with started(["rabbitmq-server"], environment=environment, folder=tmp_path, log=log):
        until(lambda: "Starting broker... completed" in log.read_text(), log)
        assert succeeds(check, environment, tmp_path)
    assert not succeeds(check, environment, tmp_path)
    assert succeeds(["epmd", "-kill"], environment, tmp_path)
