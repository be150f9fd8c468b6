"""The parts of a running simulator, put together once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.batch_store import BatchStore
from simulator.billing import PaidBodies
from simulator.database import Database
from simulator.file_store import FileStore
from simulator.scenario_store import ScenarioStore
from simulator.scenarios import parse_scenario
from simulator.steps import BatchSteps
from simulator.worker import BatchWorker

if TYPE_CHECKING:
    from simulator.options import SimulatorOptions


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the routes need."""

    options: SimulatorOptions
    database: Database
    files: FileStore
    batches: BatchStore
    scenarios: ScenarioStore
    paid: PaidBodies
    worker: BatchWorker


def build_parts(options: SimulatorOptions) -> Parts:
    """Return the parts of a simulator over its directory, as the last run left it."""
    choices = [parse_scenario(text) for text in options.scenarios]
    directory = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    database = Database(directory / "simulator.sqlite")
    files = FileStore(database, directory)
    batches = BatchStore(database, directory)
    scenarios = ScenarioStore(database)
    scenarios.replace_command_line(choices)
    steps = BatchSteps(database, files, batches, phase_seconds=options.phase_seconds)
    return Parts(
        options=options,
        database=database,
        files=files,
        batches=batches,
        scenarios=scenarios,
        paid=PaidBodies(directory / "paid.sqlite", batches),
        worker=BatchWorker(batches, steps),
    )
