"""Requests over REST, single and in bulk, beside a server that keeps nothing."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import spent_so_far
from benchmarks.sample_data import write_requests
from benchmarks.serving import PATIENCE_SECONDS, bare_server, web_server

CONNECTIONS = 64
SINGLE = 60_000
BULK = 200_000
RUNS = 3


def measure() -> list[Figure]:
    """Return how many requests a second are durable, one by one and in one upload."""
    with tempfile.TemporaryDirectory(prefix="obm-rest-") as folder:
        return [*_single(Path(folder)), *_bulk(Path(folder))]


def _single(folder: Path) -> list[Figure]:
    ours, floors, costs = [], [], []
    for run in range(RUNS):  # in turns: the machine's other load changes from minute to minute
        with bare_server() as (port, _):
            floors.append(_load(port))
        with web_server(folder / f"single-{run}") as (port, process):
            before = spent_so_far(process)
            ours.append(_load(port))
            costs.append((spent_so_far(process).cpu_seconds - before.cpu_seconds) / SINGLE * 1e6)
    best = max(range(RUNS), key=lambda run: ours[run]["rate"])
    floor = max(found["rate"] for found in floors)
    measure = f"REST, {SINGLE:,} requests of 1 KB over {CONNECTIONS} connections"
    return [
        Figure(
            measure=measure, name="durable, then 202", value=ours[best]["rate"], unit="requests/s",
            target=8_000, more_is_better=True, floor=floor,
        ),
        Figure(
            measure=measure, name="99 in 100 answered within", value=ours[best]["p99_ms"],
            unit="ms", target=50, floor=floors[best]["p99_ms"],
        ),
        Figure(
            measure=measure, name="CPU of the web process", value=min(costs), unit="µs/request"
        ),
    ]  # fmt: skip


def _bulk(folder: Path) -> list[Figure]:
    upload = folder / "upload.jsonl"
    write_requests(upload, BULK, line_bytes=1_024)
    rates, costs = [], []
    with web_server(folder / "bulk") as (port, process):
        for run in range(RUNS):
            before, began = spent_so_far(process), time.perf_counter()
            _upload(port, upload, run)
            rates.append(BULK / (time.perf_counter() - began))
            costs.append((spent_so_far(process).cpu_seconds - before.cpu_seconds) / BULK * 1e6)
    measure = f"REST, {BULK:,} lines of 1 KB in one upload"
    return [
        Figure(
            measure=measure, name="checked, durable, then 202", value=max(rates), unit="lines/s",
            target=60_000, more_is_better=True,
        ),
        Figure(measure=measure, name="CPU of the web process", value=min(costs), unit="µs/line"),
    ]  # fmt: skip


def _upload(port: int, upload: Path, run: int) -> None:
    with upload.open("rb") as body:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/requests/bulk?job=run-{run}&again=true",
            data=body, method="POST",
            headers={"Content-Length": str(upload.stat().st_size)},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
            accepted = json.load(answer)["accepted"]
    if accepted != BULK:
        raise SystemExit(f"{accepted:,} of {BULK:,} lines were accepted")


def _load(port: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.rest_load", port, CONNECTIONS, SINGLE]
    done = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, timeout=300
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found
