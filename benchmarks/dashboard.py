"""The dashboard over 1,000,000 requests: for who looks at it, and for who sends meanwhile."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.dashboard_browser import chromium, cold_visits, page_changes
from benchmarks.dashboard_sessions import CONNECTIONS, TABS, intake_beside_tabs, memory_of_tabs
from benchmarks.figures import Figure
from benchmarks.report_data import fill_ledger
from benchmarks.serving import PATIENCE_SECONDS, web_server

REQUESTS = 1_000_000
_VISITS = 5
_WALKS = 5
_MEASURE = f"dashboard, {REQUESTS:,} requests"


def measure() -> list[Figure]:
    """Return what people wait for, what it costs the server, and what intake feels of it."""
    with tempfile.TemporaryDirectory(prefix="obm-dashboard-") as folder:
        directory = fill_ledger(Path(folder) / "data", requests=REQUESTS)
        figures = _queries(directory.root)
        with web_server(directory.root) as (port, process_id):
            _await_dashboard(port)
            figures += [*_browsing(port), *_memory(port, process_id)]
        with web_server(directory.root) as (port, _):
            _await_dashboard(port)
            figures += _intake(port, port, directory.root, "one process")
        with (
            web_server(directory.root, "--only", "api") as (api_port, _),
            web_server(directory.root, "--only", "dashboard") as (dashboard_port, _),
        ):
            _await_dashboard(dashboard_port)
            figures += _intake(api_port, dashboard_port, directory.root, "two processes")
    return figures


def _queries(folder: Path) -> list[Figure]:
    """Return the time for all tiles of a page; tables have a target."""
    command = [sys.executable, "-m", "benchmarks.dashboard_tiles", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=300)
    return [
        Figure(
            measure=f"{_MEASURE}, on the server", name=address, value=milliseconds, unit="ms",
            target=50 if kind == "tables" else None,
        )
        for kind, found in json.loads(done.stdout).items()
        for address, milliseconds in found.items()
    ]  # fmt: skip


def _browsing(port: int) -> list[Figure]:
    url = f"http://127.0.0.1:{port}"
    with chromium() as browser:
        visits = cold_visits(browser, url, _VISITS)
        changes = page_changes(browser, url, _WALKS)
    return [
        Figure(
            measure=_MEASURE, name="first page with all data, cold", unit="s", target=3,
            value=statistics.median(visit.visible_seconds for visit in visits),
        ),
        Figure(
            measure=_MEASURE, name="transferred cold", unit="MB", target=2.5,
            value=max(visit.transferred_megabytes for visit in visits),
        ),
        *(
            Figure(measure=_MEASURE, name=f"change to {name}", unit="s", target=1, value=seconds)
            for name, seconds in changes.items()
        ),
    ]  # fmt: skip


def _memory(port: int, process_id: int) -> list[Figure]:
    found = memory_of_tabs(port, process_id)
    return [
        Figure(
            measure=_MEASURE, name=f"memory of each of {TABS} sessions", unit="MB", target=5,
            value=(found.open - found.before) / TABS,
        ),
        Figure(
            measure=_MEASURE, name=f"what a second {TABS} add to the peak of the first",
            unit="MB", value=found.open_again - found.open,
        ),
    ]  # fmt: skip


def _intake(api_port: int, dashboard_port: int, folder: Path, layout: str) -> list[Figure]:
    found = intake_beside_tabs(api_port, dashboard_port, folder)
    measure = f"REST over {CONNECTIONS} connections beside {TABS} tabs, {layout}"
    return [
        Figure(measure=measure, name="p99 without tabs", value=found.alone, unit="ms"),
        Figure(measure=measure, name="p99 with tabs", value=found.with_tabs, unit="ms"),
        Figure(
            measure=measure, name="with tabs to without", value=found.with_tabs / found.alone,
            unit="times", target=1.5,
        ),
        Figure(
            measure=measure, name="changes each tab was sent", value=found.changes_a_tab, unit=""
        ),
    ]  # fmt: skip


def _await_dashboard(port: int) -> None:
    """Wait until pages are served, which is later than the API."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ui", timeout=30).close()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
