"""The very commands that containers run do their work, here as processes of this machine."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from broker import Broker, broker  # noqa: F401 - a fixture
from command_line import Said
from container_files import ROOT, healthcheck, image_command, image_environment, service
from factories import chat_line
from running_commands import environment_of, free_port, started, succeeds, until

from simulator.process import SimulatorProcess

EXAMPLES = ROOT / "examples"
COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
REQUEST = chat_line("a")
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
        "OBM_DASHBOARD_PORT": 0,
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


def _told(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Said:
    finished = subprocess.run(
        command, env=dict(environment), cwd=folder, check=False, capture_output=True, text=True
    )
    return Said(finished.returncode, finished.stdout, finished.stderr)


def test_the_web_container_asks_for_a_token_and_serves_once_there_is_one(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "web.log"
    here = {"OBM_DATA_DIR": tmp_path / "data", "OBM_PORT": port}
    environment = environment_of(image_environment(), service("web")["environment"], here)
    command = service("web")["command"]
    refused = _told(command, environment, tmp_path)
    assert refused.code == 2
    assert "docker compose run --rm web obm token create" in refused.err
    assert not succeeds(healthcheck("web"), environment, tmp_path)

    (advice,) = re.findall(r"docker compose run --rm web (obm token create .+)", COMPOSE_FILE)
    token = _told(advice.split(), environment, tmp_path).out.strip()
    with started(command, environment=environment, folder=tmp_path, log=log) as process:
        until(lambda: succeeds(healthcheck("web"), environment, tmp_path), log)
        address = f"http://127.0.0.1:{port}/api/requests"
        assert httpx.get(address).status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(address, headers=bearer).status_code == 200
        assert httpx.post(address, headers=bearer, content=REQUEST).status_code == 202
        assert httpx.post(f"http://127.0.0.1:{port}/api/flush", headers=bearer).is_success
    assert process.returncode == 0, log.read_text()


def test_the_dashboard_container_serves_pages_beside_the_web_container(tmp_path: Path) -> None:
    ports = {"web": free_port(), "dashboard": free_port()}
    here = {
        "OBM_DATA_DIR": tmp_path / "data", "OBM_PORT": ports["web"],
        "OBM_DASHBOARD_PORT": ports["dashboard"],
    }  # fmt: skip
    told = partial(environment_of, image_environment())
    environments = {name: told(service(name)["environment"], here) for name in ports}
    (advice,) = re.findall(r"docker compose run --rm web (obm token create .+)", COMPOSE_FILE)
    assert _told(advice.split(), environments["web"], tmp_path).code == 0
    with ExitStack() as running:
        for name, environment in environments.items():
            log = tmp_path / f"{name}.log"
            assert not succeeds(healthcheck(name), environment, tmp_path)
            running.enter_context(
                started(service(name)["command"], environment=environment, folder=tmp_path, log=log)
            )
            until(partial(succeeds, healthcheck(name), environment, tmp_path), log)
        page = f"http://127.0.0.1:{ports['dashboard']}/ui"
        assert httpx.get(page).headers["location"].startswith("/ui/login")
        led = httpx.get(f"http://127.0.0.1:{ports['web']}/ui")
        assert (led.status_code, led.headers["location"]) == (307, page)


def test_the_consumer_container_is_healthy_while_it_can_take_requests(
    broker: Broker,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    queue, log = f"container.{free_port()}", tmp_path / "consumer.log"
    environment = environment_of(
        image_environment(), service("consumer")["environment"],
        {
            "OBM_DATA_DIR": tmp_path / "data", "RABBITMQ_URL": broker.url,
            "RABBITMQ_INPUT_QUEUE": queue,
        },
    )  # fmt: skip
    healthy = partial(succeeds, healthcheck("consumer"), environment, tmp_path)
    assert not healthy()
    command = service("consumer")["command"]
    with started(command, environment=environment, folder=tmp_path, log=log) as process:
        until(lambda: "no queue" in log.read_text(), log)
        assert not healthy()
        broker.declare_queue(queue)
        until(healthy, log)
        broker.publish(queue, REQUEST)
        until(lambda: broker.count(queue) == 0, log)
    assert process.returncode == 0, log.read_text()
    assert not healthy()
    broker.delete_queue(queue)


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
