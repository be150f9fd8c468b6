"""The pipeline and `obm up` as processes: started, disturbed, stopped and killed."""

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from conftest import Pipeline

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

Eventually = Callable[..., None]
OPEN_STATES = {"PENDING", "RUNNING", "CANCELLING"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["pipeline", "up"])
def test_a_signal_ends_everything_and_leaves_no_run_open(
    pipeline: "Pipeline", eventually: Eventually, mode: str, number: int
) -> None:
    pipeline.start(mode, "held=3600,quick=2")
    eventually(pipeline.is_running)
    eventually(lambda: pipeline.trace("held") and pipeline.trace("quick"))
    family = pipeline.family()
    began = time.monotonic()
    pipeline.send(number)
    assert pipeline.wait() == 0, pipeline.log.read_text()
    assert time.monotonic() - began < 10  # a promise of the product, not a measurement
    assert [process for process in family if process.is_running()] == []
    states = pipeline.run_states()
    assert OPEN_STATES.isdisjoint(kind for kind, _ in states)
    assert ("COMPLETED", "Stopped") in states
    assert ("COMPLETED", "Completed") in states


def test_a_killed_pipeline_takes_its_server_along_and_the_next_one_ends_its_runs(
    pipeline: "Pipeline", eventually: Eventually
) -> None:
    pipeline.start("pipeline", "held=3600")
    eventually(lambda: pipeline.trace("held"))
    eventually(lambda: ("RUNNING", "Running") in pipeline.run_states())
    server = pipeline.child("prefect")
    pipeline.send(signal.SIGKILL)
    pipeline.wait()
    eventually(lambda: not server.is_running())
    pipeline.start("pipeline", "held=3600!")
    eventually(pipeline.is_running)
    eventually(lambda: ("CRASHED", "Crashed") in pipeline.run_states())
    assert OPEN_STATES.isdisjoint(kind for kind, _ in pipeline.run_states())


def test_roles_of_a_killed_up_die_with_it(pipeline: "Pipeline", eventually: Eventually) -> None:
    pipeline.start("up", "held=3600")
    eventually(lambda: pipeline.trace("held"))
    eventually(lambda: len(pipeline.family()) == 5)  # itself, server, pipeline, API, dashboard
    family = pipeline.family()
    pipeline.send(signal.SIGKILL)
    pipeline.wait()
    eventually(lambda: not any(process.is_running() for process in family))


def test_a_server_that_died_is_started_again_and_the_work_goes_on(
    pipeline: "Pipeline", eventually: Eventually
) -> None:
    pipeline.start("pipeline", "quick=1")
    eventually(lambda: pipeline.trace("quick"))
    server = pipeline.child("prefect")
    server.send_signal(signal.SIGKILL)
    eventually(lambda: pipeline.child("prefect").pid != server.pid)
    before = len(pipeline.trace("quick"))
    eventually(lambda: len(pipeline.trace("quick")) > before + 1)
    assert pipeline.is_running()
    pipeline.send(signal.SIGTERM)
    assert pipeline.wait() == 0
    assert OPEN_STATES.isdisjoint(kind for kind, _ in pipeline.run_states())


def test_up_starts_a_pipeline_that_died_again(pipeline: "Pipeline", eventually: Eventually) -> None:
    pipeline.start("up", "held=3600")
    eventually(lambda: pipeline.trace("held"))
    first = pipeline.child("sample_pipeline")
    first.send_signal(signal.SIGKILL)
    eventually(lambda: len(pipeline.trace("held")) == 2)
    assert pipeline.trace("held")[0] != pipeline.trace("held")[1]
    assert pipeline.process is not None
    assert pipeline.process.poll() is None


def test_up_says_where_everything_is(pipeline: "Pipeline", eventually: Eventually) -> None:
    pipeline.start("up", "quick=3600!")
    eventually(lambda: "is running" in pipeline.log.read_text())
    text = pipeline.log.read_text()
    assert str(pipeline.data / "staging" / "inbox") in text
    server = pipeline.child("prefect").cmdline()
    assert f"http://127.0.0.1:{server[-1]}" in text


def test_a_second_pipeline_on_the_same_data_is_refused(
    pipeline: "Pipeline", eventually: Eventually
) -> None:
    pipeline.start("pipeline", "quick=3600!")
    eventually(pipeline.is_running)
    first = pipeline.process
    pipeline.start("pipeline", "quick=3600!")
    assert pipeline.wait() == 2
    assert "a pipeline runs already on" in pipeline.log.read_text()
    pipeline.process = first


def test_a_port_that_is_taken_is_named_with_what_to_do(pipeline: "Pipeline") -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        pipeline.start("pipeline", "quick=3600", OBM_PREFECT_PORT=str(port))
        assert pipeline.wait() == 2
    assert f"port {port} of 127.0.0.1 is in use" in pipeline.log.read_text()
    assert "OBM_PREFECT_PORT" in pipeline.log.read_text()


def test_with_an_own_prefect_server_none_is_started(
    pipeline: "Pipeline", prefect_server: object, eventually: Eventually
) -> None:
    api_url = prefect_server.api_url  # type: ignore[attr-defined]  # conftest is not importable
    pipeline.start("pipeline", "quick=3600!", PREFECT_API_URL=api_url)
    eventually(pipeline.is_running)
    assert psutil.Process(pipeline.pid).children(recursive=True) == []


def test_a_flow_that_takes_no_notice_does_not_keep_the_process(
    pipeline: "Pipeline", eventually: Eventually
) -> None:
    pipeline.start("pipeline", "deaf=3600")
    eventually(lambda: pipeline.trace("deaf"))
    family = pipeline.family()
    began = time.monotonic()
    pipeline.send(signal.SIGTERM)
    assert pipeline.wait() == 1
    assert time.monotonic() - began < 10  # a promise of the product, not a measurement
    assert "did not stop in time" in pipeline.log.read_text()
    eventually(lambda: not any(process.is_running() for process in family))
    assert OPEN_STATES.isdisjoint(kind for kind, _ in pipeline.run_states())


def test_a_pipeline_started_in_the_background_of_a_shell_stops_its_server(
    pipeline: "Pipeline", eventually: Eventually
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with `&`
    try:
        pipeline.start("pipeline", "quick=3600!")
    finally:
        signal.signal(signal.SIGINT, before)
    eventually(pipeline.is_running)
    family = pipeline.family()
    os.kill(pipeline.pid, signal.SIGTERM)
    assert pipeline.wait() == 0
    assert "Server stopped" in (pipeline.data / "prefect" / "server.log").read_text()
    assert [process for process in family if process.is_running()] == []
