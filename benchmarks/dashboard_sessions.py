"""What open tabs cost the web process: its memory, and the time that requests wait for it."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TABS = 20
ROUNDS = 3
REQUESTS = 200_000
CONNECTIONS = 64
_ENDED_SECONDS = 12.0
"""After that the sessions of closed tabs are gone."""
_SETTLED_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_WRITE_EACH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What two rounds of opening and closing tabs leave, in megabytes of the process."""

    before: float
    open: float
    closed: float
    open_again: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Intake:
    """The 99th of 100 answers, in milliseconds, without and with open tabs: medians of rounds."""

    alone: float
    with_tabs: float
    changes_a_tab: float
    """What each tab was sent in a round; without changes nothing was measured."""


def memory_of_tabs(port: int, process_id: int) -> Memory:
    """Open and close tabs twice; the first few are not counted, which load what all need."""
    with open_tabs(port, 5):
        time.sleep(_SETTLED_SECONDS)
    time.sleep(_ENDED_SECONDS)
    looks = []
    for _ in range(2):
        looks.append(_megabytes(process_id))
        with open_tabs(port, TABS):
            time.sleep(_SETTLED_SECONDS)
            looks.append(_megabytes(process_id))
        time.sleep(_ENDED_SECONDS)
    before, opened, closed, again = looks
    return Memory(before=before, open=opened, closed=closed, open_again=again)


def intake_beside_tabs(api_port: int, dashboard_port: int, folder: Path) -> Intake:
    """Send requests in turns with and without open tabs, while the ledger changes each second."""
    alone, with_tabs, changes = [], [], list[int]()
    with _changing(folder):
        _load(api_port)
        for _ in range(ROUNDS):
            alone.append(_load(api_port))
            with open_tabs(dashboard_port, TABS) as sent:
                time.sleep(_SETTLED_SECONDS)
                with_tabs.append(_load(api_port))
            changes += sent
            time.sleep(_ENDED_SECONDS)
    return Intake(
        alone=statistics.median(alone), with_tabs=statistics.median(with_tabs),
        changes_a_tab=statistics.mean(changes),
    )  # fmt: skip


@contextmanager
def open_tabs(port: int, count: int) -> Iterator[list[int]]:
    """Keep tabs open; the list holds how many changes each was sent once they are closed."""
    command = [sys.executable, "-m", "benchmarks.dashboard_tabs", str(port), str(count)]
    sent: list[int] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdout.readline().strip() != "open":
            raise SystemExit("the tabs of the dashboard could not be opened")
        yield sent
        sent += json.loads(process.communicate(timeout=_PATIENCE_SECONDS)[0])


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.ledger_writer", folder, _WRITE_EACH_SECONDS]
    process = subprocess.Popen([str(part) for part in command])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _load(port: int) -> float:
    command = [sys.executable, "-m", "benchmarks.rest_load", port, CONNECTIONS, REQUESTS]
    done = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, timeout=300
    )
    return float(json.loads(done.stdout)["p99_ms"])


def _megabytes(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1_024
