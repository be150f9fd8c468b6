"""docs/simulator.md names the options and calls that exist, and its example call works."""

import json
import re
from pathlib import Path

from documents import ROOT
from typer.main import get_command

from deployments.cli import application
from simulator.admin_routes import AdminCalls
from simulator.process import SimulatorProcess

TEXT = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_it_names_exactly_the_calls_of_the_simulator() -> None:
    routes = AdminCalls.routes(AdminCalls.__new__(AdminCalls))
    known = {
        (method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}
    }
    named = re.findall(r"^\| `(GET|POST|DELETE) (/simulator/[\w-]+)`", TEXT, re.MULTILINE)
    assert set(named) == known
    assert len(named) == len(known)


def test_it_names_exactly_the_options_of_the_command() -> None:
    rows = re.findall(r"^\| (`--[^|]+) \|", TEXT, re.MULTILINE)
    named = {option for row in rows for option in re.findall(r"`(--[\w-]+)`", row)}
    command = get_command(application).commands["simulate"]  # type: ignore[attr-defined] # a group
    known = {option for parameter in command.params for option in parameter.opts}
    assert named == known - {"--help", "-h"}


def test_its_example_call_is_understood(tmp_path: Path) -> None:
    (wish,) = re.findall(r"-d '(.+)'", TEXT)
    asked = json.loads(wish)
    with SimulatorProcess(tmp_path) as simulator:
        simulator.set_scenarios(
            *asked["scenarios"], model=asked["model"], next_batches=asked["next_batches"]
        )
        (active,) = simulator.scenarios()
        assert active["model"] == "gpt-4o*"
        assert set(simulator.counters()) >= {
            "calls",
            "batches_created",
            "lines_paid_more_than_once",
        }
