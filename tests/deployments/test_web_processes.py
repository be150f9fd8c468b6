"""`obm up` serves the API and the dashboard in two processes, which do not fall together."""

import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from storage.health import Health, read_health

if TYPE_CHECKING:
    from conftest import Pipeline

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

Eventually = Callable[..., None]
ROLES = ("web", "dashboard")


def said(pipeline: "Pipeline", role: str) -> Health:
    health = read_health(pipeline.data / "health", role)
    assert health is not None
    return health


def is_back(pipeline: "Pipeline", role: str, before: Health) -> bool:
    health = said(pipeline, role)
    return health.pid != before.pid and health.state == "running"


def test_each_answers_and_either_survives_that_the_other_is_killed(
    pipeline: "Pipeline", eventually: Eventually
) -> None:
    pipeline.start("up", "quick=3600!")
    eventually(lambda: "is running" in pipeline.log.read_text())
    api, dashboard = (said(pipeline, role) for role in ROLES)
    assert api.pid != dashboard.pid
    welcome = pipeline.log.read_text()
    assert f"{dashboard.message}/ui\n" in welcome
    assert f"{api.message}/api/swaggerui\n" in welcome
    assert httpx.get(f"{api.message}/ui").headers["location"] == f"{dashboard.message}/ui"
    assert httpx.get(f"{dashboard.message}/ui", timeout=60).status_code == 200

    for killed, other in (ROLES, ROLES[::-1]):
        before, survivor = said(pipeline, killed), said(pipeline, other)
        psutil.Process(before.pid).send_signal(signal.SIGKILL)
        assert httpx.get(f"{survivor.message}/health", timeout=20).status_code == 200
        eventually(lambda killed=killed, before=before: is_back(pipeline, killed, before))
        assert said(pipeline, other).pid == survivor.pid
        assert psutil.pid_exists(survivor.pid)
    led = httpx.get(f"{said(pipeline, 'web').message}/ui").headers["location"]
    assert led == f"{said(pipeline, 'dashboard').message}/ui"
    pipeline.send(signal.SIGTERM)
    assert pipeline.wait() == 0, pipeline.log.read_text()
    assert [said(pipeline, role).state for role in ROLES] == ["stopped", "stopped"]


def test_a_port_of_the_dashboard_that_is_taken_is_named_and_nothing_goes_on(
    pipeline: "Pipeline",
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        pipeline.start("up", "quick=3600!", OBM_DASHBOARD_PORT=str(port))
        family = pipeline.family()
        assert pipeline.wait() == 2
    text = pipeline.log.read_text()
    assert f"port {port} " in text
    assert "set OBM_HOST and OBM_DASHBOARD_PORT" in text
    assert not any(process.is_running() for process in family)


def test_one_port_for_both_is_refused_before_anything_starts(pipeline: "Pipeline") -> None:
    pipeline.start("up", "quick=3600!", OBM_PORT="4711", OBM_DASHBOARD_PORT="4711")
    assert pipeline.wait() == 2
    assert "OBM_PORT and OBM_DASHBOARD_PORT are both 4711" in pipeline.log.read_text()
    assert not (pipeline.data / "health").joinpath("web.json").exists()
