"""What a system costs that has nothing to do: all schedules, an empty inbox."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import Spent, descendants, is_prefect_server, spent_so_far
from simulator.process import SimulatorProcess
from storage.directory import DataDirectory
from storage.health import read_health

_IDLE_SECONDS = 60.0
_SETTLING_SECONDS = 20.0
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.5


def measure() -> list[Figure]:
    """Return the share of one core that `obm up` and its Prefect server take while idle."""
    with (
        tempfile.TemporaryDirectory(prefix="obm-bench-") as folder,
        SimulatorProcess(Path(folder) / "simulator") as simulator,
    ):
        directory = DataDirectory(Path(folder) / "data")
        directory.create()
        process = _started(directory, simulator.url)
        try:
            _await_running(directory, process)
            time.sleep(_SETTLING_SECONDS)
            before = _spent_now(process.pid)
            time.sleep(_IDLE_SECONDS)
            after = _spent_now(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return [
        *_figures("our processes", before[False], after[False], target=3),
        *_figures("Prefect server", before[True], after[True], target=5),
    ]


def _started(directory: DataDirectory, url: str) -> "subprocess.Popen[bytes]":
    ports = dict.fromkeys(("OBM_PREFECT_PORT", "OBM_PORT", "OBM_DASHBOARD_PORT"), "0")
    own = {"OBM_DATA_DIR": str(directory.root), **ports}
    provider = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "bench"}
    others = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "up"],
        env={**others, **own, **provider},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _await_running(directory: DataDirectory, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        health = read_health(directory.health, "pipeline")
        if health is not None and health.state == "running":
            return
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"obm up did not get ready within {_START_SECONDS:.0f} s")


def _spent_now(root: int) -> dict[bool, list[Spent]]:
    """Return what our processes (False) and the Prefect server (True) took until now."""
    spent: dict[bool, list[Spent]] = {False: [], True: []}
    for pid in descendants(root):
        spent[is_prefect_server(pid)].append(spent_so_far(pid))
    return spent


def _figures(name: str, before: list[Spent], after: list[Spent], *, target: float) -> list[Figure]:
    cpu_seconds = sum(spent.cpu_seconds for spent in after) - sum(
        spent.cpu_seconds for spent in before
    )
    peak_megabytes = sum(spent.peak_megabytes for spent in after)
    measure = f"idle for {_IDLE_SECONDS:.0f} s"
    return [
        Figure(
            measure=measure, name=f"{name}, share of a core", unit="%", target=target,
            value=cpu_seconds / _IDLE_SECONDS * 100,
        ),
        Figure(measure=measure, name=f"{name}, peak", unit="MB", value=peak_megabytes),
    ]  # fmt: skip
