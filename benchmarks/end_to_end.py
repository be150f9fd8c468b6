"""From a dropped file to a complete outbox: the real flows, a real Prefect server, no network."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import floors, sample_data
from benchmarks.figures import Figure
from benchmarks.processes import Spent, Watch, is_prefect_server
from simulator.process import SimulatorProcess
from storage.directory import DataDirectory

_NAME = "bench"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one run through the whole pipeline took."""

    requests: int
    pipeline: Spent
    waited_seconds: float
    server: Spent
    simulator: Spent
    floor: Spent
    imports_megabytes: float

    @property
    def cpu_microseconds_a_request(self) -> float:
        """The cost of one request."""
        return self.pipeline.cpu_seconds / self.requests * 1e6


def run_requests(count: int, *, line_bytes: int) -> Run:
    """Send so many requests through the pipeline and return what that took."""
    with tempfile.TemporaryDirectory(prefix="obm-bench-") as folder:
        directory = DataDirectory(Path(folder) / "data")
        directory.create()
        sample_data.write_requests(directory.inbox / f"{_NAME}.jsonl", count, line_bytes=line_bytes)
        told_path = Path(folder) / "told.json"
        with SimulatorProcess(Path(folder) / "simulator") as simulator:
            server, simulation = _run_pipeline(directory, simulator, told_path)
        told = json.loads(told_path.read_text(encoding="utf-8"))
        outbox = directory.outbox / _NAME
        _check(outbox, told, count)
        return Run(
            requests=count,
            pipeline=Spent(
                cpu_seconds=told["cpu_seconds"],
                peak_megabytes=told["peak_megabytes"],
                wall_seconds=told["running_seconds"],
            ),
            waited_seconds=told["waiting_seconds"],
            server=server,
            simulator=simulation,
            floor=floors.copying_and_decoding(
                list(directory.archive.glob("*.jsonl")), [outbox / "results.jsonl"]
            ),
            imports_megabytes=floors.importing(),
        )


def _run_pipeline(
    directory: DataDirectory, simulator: SimulatorProcess, told_path: Path
) -> tuple[Spent, Spent]:
    module = ("-m", "benchmarks.pipeline_process")
    command = [sys.executable, *module, str(directory.root), simulator.url, str(told_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        with (
            Watch(process.pid, chosen=is_prefect_server) as server,
            Watch(simulator.pid, chosen=lambda _: True) as simulation,
        ):
            _, errors = process.communicate()
        simulation.look()
    if process.returncode:
        raise RuntimeError(f"the pipeline ended with {process.returncode}: {errors[-2_000:]}")
    return server.total, simulation.total


def _check(outbox: Path, told: dict[str, Any], count: int) -> None:
    """Figures of a run that lost something are worth nothing."""
    if told["exit_code"] != 0:
        raise RuntimeError(f"the run ended with exit code {told['exit_code']}")
    for name in ("results.jsonl", "results.sorted.jsonl"):
        with (outbox / name).open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        if lines != count:
            raise RuntimeError(f"{name} has {lines:,} lines for {count:,} requests")


def figures_of(run: Run, *, cost_target: float | None, peak_target: float | None) -> list[Figure]:
    """Return the figures of a run, the promised ones first."""
    measure = f"end to end, {run.requests:,}"

    def told(name: str, value: float, unit: str, **beside: float | None) -> Figure:
        return Figure(measure=measure, name=name, value=value, unit=unit, **beside)  # type: ignore[arg-type] # numbers all

    working_seconds = run.pipeline.wall_seconds - run.waited_seconds
    return [
        told(
            "cost of the pipeline process", run.pipeline.cpu_seconds, "CPU s",
            target=cost_target, floor=run.floor.cpu_seconds,
        ),
        told(
            "its peak memory (floor: imports)", run.pipeline.peak_megabytes, "MB",
            target=peak_target, floor=run.imports_megabytes,
        ),
        told("cost of one request", run.cpu_microseconds_a_request, "CPU µs"),
        told(
            "wall time without waiting", working_seconds, "s", floor=run.floor.wall_seconds
        ),
        told("waited for the provider", run.waited_seconds, "s"),
        told("Prefect server", run.server.cpu_seconds, "CPU s"),
        told("Prefect server, peak", run.server.peak_megabytes, "MB"),
        told("simulator", run.simulator.cpu_seconds, "CPU s"),
        told("simulator, peak", run.simulator.peak_megabytes, "MB"),
    ]  # fmt: skip
