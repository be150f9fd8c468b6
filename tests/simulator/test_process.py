from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import openai
import psutil
import pytest

from simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Account

    Connect = Callable[..., Account]

DEADLINE_SECONDS = 10


def test_a_batch_shows_its_phases_and_its_progress(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state", speed=0.5) as simulator:
        account = connect(simulator)
        batch = account.start(account.lines(40))
        statuses, completed = [batch.status], [0]
        while batch.status != "completed":
            batch = account.client.batches.retrieve(batch.id)
            assert batch.request_counts is not None
            statuses.append(batch.status)
            completed.append(batch.request_counts.completed)
            assert batch.status != "validating" or batch.request_counts.total == 0
            time.sleep(0.005)
    assert list(dict.fromkeys(statuses)) == ["validating", "in_progress", "finalizing", "completed"]
    assert completed == sorted(completed)
    assert len(set(completed)) > 5


def test_a_cancel_in_mid_batch_keeps_what_was_done(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state", speed=0.4) as simulator:
        account = connect(simulator)
        batch = account.wait(account.start(account.lines(40)), "in_progress")
        while batch.request_counts is None or batch.request_counts.completed < 4:
            batch = account.client.batches.retrieve(batch.id)
        cancelled = account.wait(account.client.batches.cancel(batch.id))
        assert cancelled.status == "cancelled"
        output, errors = account.output(cancelled), account.errors(cancelled)
        assert 4 <= len(output) < 40
        assert len({line["custom_id"] for line in output + errors}) == len(output + errors) == 40
        assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
        assert simulator.counters()["lines_paid"] == len(output)


def test_a_killed_simulator_goes_on_where_it_was_and_bills_nothing_twice(
    tmp_path: Path, connect: Connect
) -> None:
    simulator = SimulatorProcess(tmp_path / "state", speed=1)
    with simulator:
        account = connect(simulator)
        batch = account.wait(account.start(account.lines(100)), "in_progress")
        while batch.request_counts is None or batch.request_counts.completed < 20:
            batch = account.client.batches.retrieve(batch.id)
        simulator.kill()
        leave_behind(simulator, batch.input_file_id)
        simulator.restart()
        found = account.client.batches.retrieve(batch.id)
        assert found.status == "in_progress"
        assert found.request_counts is not None
        assert found.request_counts.completed >= 20
        ended = account.wait(found)
        lines = account.output(ended)
        assert {line["custom_id"] for line in lines} == {f"id-{n}" for n in range(100)}
        assert len(lines) == 100
        counters = simulator.counters()
        assert (counters["lines_executed"], counters["lines_paid"]) == (100, 100)
        assert counters["lines_paid_more_than_once"] == 0


def leave_behind(simulator: SimulatorProcess, input_file_id: str) -> None:
    """Do what a crash between writing a portion and recording it does."""
    written = [
        *(simulator.directory / "paid").iterdir(),
        *(simulator.directory / "files").iterdir(),
    ]
    for path in written:
        if path.name != input_file_id:
            with path.open("ab") as file:
                file.write(b"12345678")


def test_kills_at_any_moment_lose_and_double_nothing(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state", scenarios=["error_lines:every=7"]) as simulator:
        account = connect(simulator)
        batch = account.start(account.lines(20_000))
        for pause in (0.05, 0.11, 0.02, 0.16):
            time.sleep(pause)
            simulator.kill()
            simulator.restart()
        ended = account.wait(batch)
        output, errors = account.output(ended), account.errors(ended)
        ids = [line["custom_id"] for line in output + errors]
        assert sorted(ids) == sorted(f"id-{number}" for number in range(20_000))
        assert len(errors) == 20_000 // 7
        counters = simulator.counters()
        assert counters["lines_executed"] == 20_000
        assert counters["lines_paid"] == len(output)
        assert counters["lines_paid_more_than_once"] == 0
        assert counters["batches_created"] == 1


def test_what_is_finished_stays_after_a_restart(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state") as simulator:
        account = connect(simulator)
        batch = account.run(account.lines(5))
        before = account.raw(batch.output_file_id)
        counters = simulator.counters()
        simulator.restart()
        assert account.client.batches.retrieve(batch.id).to_dict() == batch.to_dict()
        assert account.raw(batch.output_file_id) == before
        assert simulator.counters()["lines_paid"] == counters["lines_paid"]
        assert [each.id for each in account.client.batches.list()] == [batch.id]


def test_scenarios_of_the_command_line_stay_used_up_after_a_restart(
    tmp_path: Path, connect: Connect
) -> None:
    with SimulatorProcess(tmp_path / "state", scenarios=["token_limit:times=2"]) as simulator:
        account = connect(simulator)
        file = account.upload(account.lines(1))
        assert account.wait(account.create(file.id)).status == "failed"
        simulator.restart()
        assert account.wait(account.create(file.id)).status == "failed"
        assert account.wait(account.create(file.id)).status == "completed"
        simulator.set_scenarios("all_fail", next_batches=3)
        simulator.restart()
        assert [each["name"] for each in simulator.scenarios()] == ["token_limit", "all_fail"]


def test_every_key_may_have_an_account_of_its_own(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state", accounts_by_key=True) as simulator:
        one, other = connect(simulator, key="sk-one"), connect(simulator, key="sk-other")
        batch = one.run(one.lines(2))
        assert [each.id for each in connect(simulator, key="sk-one").client.batches.list()] == [
            batch.id
        ]
        assert list(other.client.batches.list()) == []
        assert list(other.client.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            other.client.batches.retrieve(batch.id)
        with pytest.raises(openai.NotFoundError):
            other.client.files.content(batch.input_file_id)
        with pytest.raises(openai.BadRequestError, match="Cannot find file"):
            other.create(batch.input_file_id)
        other.run(other.lines(2))
        assert simulator.counters()["lines_paid_more_than_once"] == 0


def test_a_certain_key_may_be_demanded(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state", api_key="sk-right") as simulator:
        connect(simulator, key="sk-right").client.models.list()
        with pytest.raises(openai.AuthenticationError) as caught:
            connect(simulator, key="sk-wrong").client.models.list()
        assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_even_while_calls_wait(
    tmp_path: Path, connect: Connect, number: int
) -> None:
    with SimulatorProcess(tmp_path / "state", scenarios=["slow_calls:seconds=60"]) as simulator:
        account = connect(simulator)
        with pytest.raises(openai.APITimeoutError):
            account.client.with_options(timeout=0.2).models.list()
        process = psutil.Process(simulator.pid)
        os.kill(simulator.pid, number)
        assert process.wait(2) == 0


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from simulator.process import *\n"
        "print(SimulatorProcess(Path(sys.argv[1])).start().pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert os.getsid(child.pid) == child.pid
        parent.kill()
    child.wait(DEADLINE_SECONDS)
    assert not child.is_running()


def test_a_wrong_option_is_refused_in_plain_words(tmp_path: Path) -> None:
    for option, value, hint in (
        ("--speed", "fast", "must be `max` or a number of seconds"),
        ("--scenario", "nonsense", "there is no scenario 'nonsense'"),
    ):
        command = [sys.executable, "-m", "simulator", "--dir", str(tmp_path), option, value]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert hint in ended.stderr


def test_a_taken_port_is_said_so(tmp_path: Path) -> None:
    with SimulatorProcess(tmp_path / "state") as simulator:
        port = simulator.url.split(":")[2].removesuffix("/v1")
        command = [sys.executable, "-m", "simulator", "--dir", str(tmp_path), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert f"port {port}" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_two_simulators_never_share_their_state(tmp_path: Path) -> None:
    with SimulatorProcess(tmp_path / "state") as simulator:
        command = [sys.executable, "-m", "simulator", "--port", "0", "--dir"]
        command.append(str(simulator.directory))
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "another simulator is using" in ended.stderr


def test_memory_stays_flat_over_many_lines(tmp_path: Path, connect: Connect) -> None:
    with SimulatorProcess(tmp_path / "state") as simulator:
        account = connect(simulator)
        process = psutil.Process(simulator.pid)
        file = account.upload(account.lines(50_000))
        sizes = []
        for _ in range(4):
            account.wait(account.create(file.id))
            sizes.append(process.memory_info().rss)
        assert simulator.counters()["lines_paid_more_than_once"] == 150_000
        sizes.append(process.memory_info().rss)
    assert max(sizes) < sizes[0] * 1.3
