"""`obm simulate`: the simulator behind the product's own command."""

import json
import socket
import subprocess
import urllib.request
from pathlib import Path

from command_line import Obm
from running_commands import environment_of


def test_scenarios_are_listed_with_what_they_do(obm: Obm) -> None:
    text = obm("simulate", "--list-scenarios").out
    assert "token_limit:times=1" in text
    assert "the batch expires when this part is done" in text


def test_an_unknown_scenario_is_refused_with_the_known_ones(obm: Obm) -> None:
    said = obm("simulate", "--scenario", "meteor")
    assert (said.code, "meteor" in said.err, "dropped_lines" in said.err) == (2, True, True)


def test_a_speed_that_is_none_is_refused(obm: Obm) -> None:
    said = obm("simulate", "--speed", "quick")
    assert (said.code, "quick" in said.err) == (2, True)


def test_it_serves_with_the_scenarios_it_was_given_until_it_is_told_to_end(tmp_path: Path) -> None:
    command = ["obm", "simulate", "--port", "0", "--dir", str(tmp_path / "state"), "--api-key", "k"]
    command += ["--scenario", "all_fail:status=500", "--scenario", "expires:at=0.25"]
    with subprocess.Popen(
        command, env=environment_of(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("Simulator ready: ")
        with urllib.request.urlopen(f"{url.removesuffix('/v1')}/simulator/scenarios") as answer:  # noqa: S310 - a loopback server
            active = json.load(answer)["active"]
        process.terminate()
        process.wait(10)
    assert [scenario["name"] for scenario in active] == ["all_fail", "expires"]
    assert (active[0]["parameters"]["status"], process.returncode) == (500, 0)


def test_a_port_in_use_is_one_sentence(obm: Obm, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = obm("simulate", "--port", port, "--dir", tmp_path / "state")
    assert (said.code, f"port {port}" in said.err, "Traceback" in said.err) == (2, True, False)
