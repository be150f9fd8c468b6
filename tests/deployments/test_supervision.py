"""Child processes: started, bound to our life, restarted, stopped, and their logs bounded."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deployments import children
from deployments.children import Child, Role, stop_all
from deployments.supervision import RoleFailed, Supervisor

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)\n"

Eventually = Callable[..., None]


def role(code: str, log: Path | None = None, *, restart: bool = True) -> Role:
    return Role(
        name="sample",
        argv=(sys.executable, "-c", code),
        ready_when=lambda: True,
        log=log,
        restart=restart,
    )


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop(5)


def test_a_role_that_died_is_started_again(supervisor: Supervisor, eventually: Eventually) -> None:
    child = supervisor.start(role(SLEEP))
    supervisor.look_after()
    child.kill()

    def is_back() -> bool:
        supervisor.look_after()
        return child.is_alive

    eventually(is_back)


def test_a_role_that_is_not_to_be_restarted_stays_away(supervisor: Supervisor) -> None:
    child = supervisor.start(role("", restart=False))
    assert child.wait(10)
    for _ in range(3):
        supervisor.look_after()
    assert not child.is_alive


def test_a_role_that_cannot_start_is_given_up_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.supervision._FIRST_PAUSE_SECONDS", 0.0)
    child = supervisor.start(role("raise SystemExit('no such port')", tmp_path / "log"))

    def go_on() -> None:
        while True:
            child.wait(10)
            supervisor.look_after()

    with pytest.raises(RoleFailed, match=r"ended 4 times before it was ready.*no such port"):
        go_on()


def test_a_wrong_configuration_ends_it_at_once_with_its_exit_code(supervisor: Supervisor) -> None:
    child = supervisor.start(role("raise SystemExit(2)"))
    child.wait(10)
    with pytest.raises(RoleFailed) as failure:
        supervisor.look_after()
    assert failure.value.exit_code == 2


def test_a_child_that_does_not_stop_is_killed_with_what_it_started(
    tmp_path: Path, eventually: Eventually
) -> None:
    nested = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
    child = Child(role(DEAF + nested + SLEEP, tmp_path / "log"))
    child.start()
    eventually(lambda: (tmp_path / "log").exists() and child.last_words() == "1")
    eventually(lambda: psutil.Process(child.process_id).children())
    family = psutil.Process(child.process_id).children()
    stop_all([child], 0.2)
    assert not child.is_alive
    eventually(lambda: not any(process.is_running() for process in family))


def test_a_child_dies_with_a_parent_that_was_killed(eventually: Eventually) -> None:
    code = (
        "import sys, time\n"
        "from deployments.children import Child, Role\n"
        f"role = Role(name='x', argv=(sys.executable, '-c', {SLEEP!r}), ready_when=bool)\n"
        "child = Child(role); child.start(); print(child.process_id, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        eventually(lambda: "deployments.parent_bound" not in child.cmdline())
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not child.is_running())


def test_a_log_stays_bounded_and_keeps_its_latest_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "LOG_LIMIT_BYTES", 1_000)
    log = tmp_path / "server.log"
    chatter = "import time\nfor n in range(2000): print(n, flush=True); time.sleep(0.001)\n"
    child = Child(role(chatter + SLEEP, log))
    child.start()
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "server.1.log").exists() or "1999" not in child.last_words():
            child.trim_log()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert log.stat().st_size < 5_000
        assert b"\0" not in log.read_bytes()
    finally:
        child.kill()


def test_roles_end_together_but_for_the_one_that_another_needs(
    supervisor: Supervisor, tmp_path: Path, eventually: Eventually
) -> None:
    order = tmp_path / "order"

    def told(name: str, after: str | None = None, pause_seconds: float = 0.0) -> Role:
        code = (
            "import signal, time\n"
            "def end(*_):\n"
            f"    time.sleep({pause_seconds})\n"
            f"    open({str(order)!r}, 'a').write({name!r} + ' ')\n"
            "    raise SystemExit(0)\n"
            f"signal.signal(signal.SIGTERM, end)\nopen({str(tmp_path / name)!r}, 'w')\n"
        )
        ready = (tmp_path / name).exists
        argv = (sys.executable, "-c", code + SLEEP)
        return Role(name=name, argv=argv, ready_when=ready, after=after)

    children = [
        supervisor.start(told("server")),
        supervisor.start(told("slow", after="server", pause_seconds=1.0)),
        supervisor.start(told("quick", pause_seconds=0.5)),
    ]
    eventually(lambda: all(child.is_ready for child in children))
    supervisor.stop(20)
    assert order.read_text().split() == ["quick", "slow", "server"]
    assert [child.exit_code for child in children] == [0, 0, 0]


def test_time_is_held_back_for_the_role_that_ends_last(
    supervisor: Supervisor, tmp_path: Path, eventually: Eventually
) -> None:
    logs = [tmp_path / name for name in ("deaf-1", "deaf-2")]
    deaf = [
        supervisor.start(replace(role(DEAF + SLEEP, log), name=log.name, after="sample"))
        for log in logs
    ]
    server = supervisor.start(role(SLEEP))
    eventually(lambda: all(log.exists() and log.read_text() for log in logs))
    supervisor.stop(3.0)
    assert [child.exit_code for child in deaf] == [-signal.SIGKILL] * 2
    assert server.exit_code == -signal.SIGTERM
