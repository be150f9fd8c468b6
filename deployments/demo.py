"""`obm demo`: the whole pipeline on the example files, against the simulator, then checked."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from batching.errors import BadInput
from batching.jobs import read_job_settings, side_file_name
from batching.prices import PriceTable
from deployments.cli.looking import read_status
from deployments.cli.surroundings import out, reading
from deployments.demo_check import Books, Check, checks_of
from deployments.demo_story import sentence_of
from simulator.process import SimulatorProcess
from storage.directory import DataDirectory
from storage.inbox import put_into_inbox
from storage.inquiries import story_since
from storage.ledger import now

FOLDER: Final = Path("demo-data")
MARKER: Final = ".made-by-obm-demo"
EXAMPLES: Final = Path(__file__).resolve().parent.parent / "examples"
SCENARIOS: Final = (
    "error_lines:share=0.02,seed=1,status=400",
    "error_lines:share=0.05,seed=2,status=429,attempts=1",
    "error_lines:share=0.04,seed=3,status=500,attempts=1",
)
_PHASE_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 100
_POLL_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 10.0
_SOME_FAILED: Final = 3
_FOREIGN_SETTINGS: Final = ("OBM_", "OPENAI_", "RABBITMQ_", "PREFECT_")


def run_demo() -> int:
    """Show and check everything; return 0 only if every request came out exactly once."""
    began = time.monotonic()
    files = example_files(EXAMPLES)
    directory = DataDirectory(_fresh_folder(FOLDER.absolute()))
    console = out()
    with SimulatorProcess(
        directory.root / "simulator", speed=_PHASE_SECONDS, scenarios=SCENARIOS
    ) as simulator:
        _introduce(console, simulator.url, directory)
        _bring(console, directory, files)
        code = _run_pipeline(console, directory, simulator.url)
        if code != _SOME_FAILED:
            return _tell_trouble(console, directory, code)
        checks = checks_of(directory, files, _books(simulator))
    _conclude(console, directory, checks, seconds=time.monotonic() - began)
    return 0 if all(check.holds for check in checks) else 1


def example_files(folder: Path) -> list[Path]:
    """Return the example request files; BadInput if they are not there."""
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.csv")])
    if not files:
        raise BadInput(
            f"there are no example files in {folder}: they come with the repository, so run "
            "`make demo` in a clone of it"
        )
    return files


def _books(simulator: SimulatorProcess) -> Books:
    counters = simulator.counters()
    return Books(
        batches_created=counters["batches_created"],
        lines_paid=counters["lines_paid"],
        bodies_paid_twice=counters["lines_paid_more_than_once"],
    )


def _fresh_folder(folder: Path) -> Path:
    """Return an empty folder; only an earlier demo's one is removed for it."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise BadInput(
            f"{folder} exists and was not made by a demo, so it is left alone: move it away, or "
            "run the demo in another folder"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    return folder


def _introduce(console: Console, url: str, directory: DataDirectory) -> None:
    console.print("OpenAI Batch Manager: the demo", style="bold")
    console.print(
        f"A simulator of OpenAI's Batch API answers at {url}: no key, no costs.\n"
        "It fails 2 % of the requests for good (400) and 9 % at their first try (429, 500).\n"
        f"Everything is kept in {directory.root}\n",
        soft_wrap=True,
    )


def _bring(console: Console, directory: DataDirectory, files: list[Path]) -> None:
    directory.create()
    console.print(f"Files are dropped into {directory.inbox}", style="bold", soft_wrap=True)
    for path in files:
        side_file = path.with_name(side_file_name(path.name))
        settings = (
            read_job_settings(side_file.read_bytes()).model_dump(exclude_unset=True)
            if side_file.exists()
            else {}
        )
        put_into_inbox(directory, path, side_settings=settings)
        beside = f", with {side_file.name}" if settings else ""
        console.print(f"  {path.name} ({path.stat().st_size:,} bytes{beside})")


def _run_pipeline(console: Console, directory: DataDirectory, url: str) -> int:
    """Run `obm run --until-idle` in a process of its own and tell what happens meanwhile."""
    console.print("\nobm run --until-idle", style="bold")
    since = now()
    with _pipeline(directory, url) as process:
        while (code := process.poll()) is None:
            since = _tell(console, directory, since)
            time.sleep(_LOOK_SECONDS)
    _tell(console, directory, since)
    return code


@contextmanager
def _pipeline(directory: DataDirectory, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "deployments.cli", "run", "--until-idle"]
    command += ["--timeout", str(_TIMEOUT_SECONDS), "--poll-interval", str(_POLL_SECONDS)]
    with _log(directory).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            cwd=directory.root,  # away from any .env
            env=_environment(directory, url),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process if something came between, with the time to put its things away."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(directory: DataDirectory, url: str) -> dict[str, str]:
    """Return an environment without the user's own settings: nothing can reach his account."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_FOREIGN_SETTINGS)
    }
    return own | {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "none-needed",
        "OBM_DATA_DIR": str(directory.root),
    }


def _tell(console: Console, directory: DataDirectory, since: datetime) -> datetime:
    """Print what has happened since; return up to when that is told."""
    if not directory.ledger.exists():
        return since
    with reading(directory) as reader:
        events = story_since(reader, since) if reader is not None else []
    for event in events:
        if sentence := sentence_of(event):
            console.print(f"  {sentence}", soft_wrap=True)
    moments: list[datetime] = [event["happened_at"] for event in events]
    return max([since, *moments])


def _tell_trouble(console: Console, directory: DataDirectory, code: int) -> int:
    console.print(f"\nThe pipeline ended with code {code} instead of {_SOME_FAILED}.", style="red")
    log = _log(directory)
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]:
        console.print(f"  {line}", soft_wrap=True)
    console.print(f"All of it is in {log}", soft_wrap=True)
    return 1


def _conclude(
    console: Console, directory: DataDirectory, checks: list[Check], *, seconds: float
) -> None:
    status = read_status(directory, PriceTable.load())
    console.print(
        f"\nIt would have cost ${status.spent_usd:.4f} at OpenAI, "
        f"${status.saved_usd:.4f} less than synchronously.",
        style="bold",
    )
    console.print("\nInputs and outbox compared", style="bold")
    for check in checks:
        mark, style = ("✓", "green") if check.holds else ("✗", "red")
        console.print(f"  {mark} {check.claim}", style=style, soft_wrap=True)
    if not all(check.holds for check in checks):
        console.print(f"\nNot everything holds: see {_log(directory)}", style="red", soft_wrap=True)
    console.print(
        f"\nDone in {seconds:.0f} s. The results are in {directory.outbox}\n"
        f"Look around with OBM_DATA_DIR={FOLDER} obm status, and obm results support-tickets.",
        soft_wrap=True,
    )


def _log(directory: DataDirectory) -> Path:
    return directory.root / "run.log"
