"""The container files agree with the product and with each other."""

import re
import tomllib
from fnmatch import fnmatch

import pytest
from container_files import (
    ROOT,
    compose,
    copied,
    ignored,
    image_command,
    image_environment,
    service,
)
from container_files import values_of as dockerfile
from documents import settings_rows
from typer.main import get_group

from batching.settings import Settings
from deployments.cli import application
from deployments.prefect_server import PACE, QUIET, RETENTION
from receivers.rabbitmq_source import Source

OWN_ROLES = ("prefect", "pipeline", "web", "dashboard", "consumer")
ROLES_WITH_SETTINGS = OWN_ROLES[1:]


def test_the_image_holds_every_package_and_no_file_that_is_ignored() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.split(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    assert packages <= set(copied())
    for name in copied():
        assert (ROOT / name).exists(), name
    assert ignored()[0] == "*"
    assert {line[1:] for line in ignored() if line.startswith("!")} == set(copied())


def test_the_image_never_holds_keys_or_data() -> None:
    allowed = [line[1:] for line in ignored() if line.startswith("!")]
    for name in (".env", "data", "demo-data", ".git", ".venv"):
        assert not any(fnmatch(name, pattern) for pattern in allowed), name


def test_the_image_is_a_slim_python_and_runs_as_a_user_without_rights() -> None:
    assert dockerfile("FROM") == ["python:3.11-slim"]
    assert dockerfile("USER") == ["obm"]
    assert dockerfile("VOLUME") == ["/data"]
    assert image_environment()["OBM_DATA_DIR"] == "/data"
    assert image_command() == ["obm", "up"]


def test_the_image_installs_exactly_the_pinned_dependencies() -> None:
    installs = [line for line in dockerfile("RUN") if "pip install" in line]
    assert installs[0] == "python -m pip install -r requirements.lock"
    assert "--no-deps" in installs[1]
    assert len(installs) == 2


def test_compose_has_exactly_the_roles_that_exist() -> None:
    assert list(compose()["services"]) == [*OWN_ROLES, "rabbitmq"]


@pytest.mark.parametrize("name", [*OWN_ROLES, "rabbitmq"])
def test_every_service_is_watched_and_comes_back(name: str) -> None:
    found = service(name)
    assert found["restart"] == "unless-stopped"
    assert found["healthcheck"]["test"][0] == "CMD"
    for volume in found["volumes"]:
        assert volume.partition(":")[0] in compose()["volumes"]


@pytest.mark.parametrize("name", OWN_ROLES)
def test_our_roles_share_one_image_and_one_data_directory(name: str) -> None:
    found = service(name)
    assert found["build"] == "."
    assert found["volumes"] == ["data:/data"]
    assert found["init"] is True


def test_a_container_gets_more_time_to_stop_than_the_product_takes() -> None:
    for name in OWN_ROLES:
        assert int(service(name)["stop_grace_period"].removesuffix("s")) > 10


def test_only_this_machine_reaches_the_published_ports() -> None:
    published = {name: found.get("ports", []) for name, found in compose()["services"].items()}
    assert published == {
        "prefect": ["127.0.0.1:4200:4200"],
        "pipeline": [],
        "web": ["127.0.0.1:4000:4000"],
        "dashboard": ["127.0.0.1:4001:4001"],
        "consumer": [],
        "rabbitmq": ["127.0.0.1:5672:5672"],
    }
    assert service("web")["environment"]["OBM_PORT"] == "4000"
    assert service("dashboard")["environment"]["OBM_DASHBOARD_PORT"] == "4001"


def test_the_broker_and_what_consumes_from_one_start_only_when_they_are_asked_for() -> None:
    profiles = {name: found.get("profiles") for name, found in compose()["services"].items()}
    assert profiles == {
        "prefect": None, "pipeline": None, "web": None, "dashboard": None,
        "consumer": ["consumer", "rabbitmq"], "rabbitmq": ["rabbitmq"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ROLES_WITH_SETTINGS)
def test_every_variable_of_a_role_is_a_setting(name: str) -> None:
    known = {*settings_rows(), "PREFECT_API_URL", "PREFECT_HOME"}
    assert set(service(name)["environment"]) <= known
    assert service(name)["environment"]["OBM_DATA_DIR"] == "/data"


@pytest.mark.parametrize("name", ROLES_WITH_SETTINGS)
def test_every_role_runs_a_command_of_the_product(name: str) -> None:
    program, command, *options = service(name)["command"]
    assert program == "obm"
    get_group(application).commands[command].make_context(command, options)


def test_what_the_compose_file_advises_for_its_broker_are_settings_that_fit() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    advised = dict(re.findall(r"^  #   ([A-Z_]+)=(\S+)$", text, re.MULTILINE))
    assert set(advised) <= set(settings_rows())
    source = Source.of(Settings(_env_file=None, **advised))
    assert (source.queue, source.is_declared) == ("requests", True)
    assert "@rabbitmq:5672/" in advised["RABBITMQ_URL"]


def test_the_prefect_container_is_set_up_like_the_embedded_server() -> None:
    environment = service("prefect")["environment"]
    expected = {**QUIET, **RETENTION, **PACE}
    assert {name: environment.get(name) for name in expected} == expected


def test_the_pipeline_waits_for_its_server_and_finds_it() -> None:
    pipeline, prefect = service("pipeline"), service("prefect")
    assert pipeline["depends_on"] == {"prefect": {"condition": "service_healthy"}}
    port = prefect["environment"]["PREFECT_SERVER_API_PORT"]
    assert pipeline["environment"]["PREFECT_API_URL"] == f"http://prefect:{port}/api"


def test_no_key_stands_in_the_compose_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert "sk-" not in text
    for name in ROLES_WITH_SETTINGS:
        assert service(name)["env_file"] == [{"path": ".env", "required": False}]


def test_the_image_has_the_version_of_the_product() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in OWN_ROLES:
        assert service(name)["image"] == f"openai-batch-manager:{project['project']['version']}"
