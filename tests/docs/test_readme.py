"""Every command of the README that needs neither Docker nor money does what it says.

The commands of its `sh` blocks run in the order of the README, in a folder that looks like a
clone of the repository. Where the README speaks to a provider, a simulator answers. Ports are
replaced by free ones.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from documents import ROOT
from running_commands import environment_of, free_port, started, until

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SHOWN_ONLY = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SIMULATOR_PORT, API_PORT, DASHBOARD_PORT, WEBHOOK_PORT = "8080", "4000", "4001", "9000"
PORTS = (SIMULATOR_PORT, API_PORT, DASHBOARD_PORT, WEBHOOK_PORT)

DEMO, TEST, SIMULATE = "make demo\n", "make test\n", "obm simulate --port 8080\n"
CONSUMER = "python examples/webhook_consumer.py --port 9000\n"


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A folder like a clone in which `make setup` has run, and what its commands see."""

    root: Path
    environment: dict[str, str]
    ports: dict[str, int]
    """The free port for each of the README."""

    def command(self, block: str) -> list[str]:
        for named, free in self.ports.items():
            block = re.sub(rf"\b{named}\b", str(free), block)
        return ["bash", "-euc", block]

    def run(self, block: str) -> str:
        finished = subprocess.run(
            self.command(block), cwd=self.root, env=self.environment, check=False,
            capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert finished.returncode == 0, f"{block}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout

    def jobs(self) -> list[str]:
        return [job["name"] for job in json.loads(self.run("obm jobs --json"))]

    def summary(self, job: str, data: str = "data") -> Path:
        return self.root / data / "outbox" / job / "summary.json"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    for name in ("examples", "Makefile", "requirements.lock", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for program in (Path(sys.prefix) / "bin").iterdir():
        (programs / program.name).symlink_to(program)
    for name in ("lib", "pyvenv.cfg"):
        (programs.parent / name).symlink_to(Path(sys.prefix) / name)
    mark = programs / ".installed"  # newer than the lock file: nothing is installed again
    mark.unlink(missing_ok=True)
    mark.touch()
    ports = {named: free_port() for named in PORTS}
    return Clone(
        root=tmp_path,
        environment=environment_of(
            {
                "OBM_PREFECT_PORT": 0,
                "OBM_PORT": ports[API_PORT],
                "OBM_DASHBOARD_PORT": ports[DASHBOARD_PORT],
            }
        ),
        ports=ports,
    )


def test_what_is_only_shown_needs_docker() -> None:
    for line in "".join(SHOWN_ONLY).splitlines():
        assert line.startswith(("$ docker compose ", "$ echo OPENAI_API_KEY=")), line


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_make_demo_shows_the_whole_pipeline_and_proves_it(clone: Clone) -> None:
    assert DEMO in BLOCKS
    told = clone.run(DEMO)
    assert "✓" in told
    assert "✗" not in told
    assert (clone.root / "demo-data" / "outbox").is_dir()


def test_make_test_runs_all_tests(clone: Clone) -> None:
    assert TEST in BLOCKS
    planned = clone.run("make --dry-run test").splitlines()
    assert planned == [".venv/bin/python -m pytest -q -n 2 --dist loadfile"]


def test_make_up_without_a_key_says_what_is_missing(clone: Clone) -> None:
    finished = subprocess.run(
        ["make", "up"], cwd=clone.root, env=clone.environment, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert finished.returncode == 2
    assert "OPENAI_API_KEY is not set" in finished.stderr


@pytest.fixture
def provider(clone: Clone, tmp_path: Path) -> Iterator[str]:
    """Start what the README says about the simulator; everything below speaks to it."""
    assert SIMULATE in BLOCKS
    log = tmp_path / "simulator.log"
    command = clone.command(f"exec {SIMULATE}")
    with started(command, environment=clone.environment, folder=clone.root, log=log):
        until(lambda: "Simulator ready: " in log.read_text(), log)
        yield f"http://127.0.0.1:{clone.ports[SIMULATOR_PORT]}/v1"


class UpTerminal:
    """The terminal in which the README starts `make up`: what was exported in it stays so."""

    def __init__(self, clone: Clone, provider: str) -> None:
        self.log = clone.root / "up.log"
        self._clone = clone
        self._environment = clone.environment | {
            "OPENAI_BASE_URL": provider, "OBM_POLL_MIN": "0.2", "OBM_POLL_MAX": "1",
        }  # fmt: skip
        self._typed = ""
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def type(self, block: str) -> None:
        """Stop what runs, start what the block says, and wait until it says that it runs."""
        self._running.close()
        self.log.unlink(missing_ok=True)
        self._typed += block.removesuffix("make up\n")
        self._running.enter_context(
            started(
                self._clone.command(f"{self._typed}exec make up\n"),
                environment=self._environment, folder=self._clone.root, log=self.log,
            )
        )  # fmt: skip
        until(lambda: "is running" in self.log.read_text(), self.log)


@pytest.fixture
def receiver(clone: Clone) -> Iterator[Path]:
    """Start the receiver of webhooks as the README says; what it prints is in this file."""
    assert CONSUMER in BLOCKS
    log = clone.root / "received.log"
    command = clone.command(f"exec {CONSUMER}")
    with started(command, environment=clone.environment, folder=clone.root, log=log):
        until(lambda: "listening on " in log.read_text(), log)
        yield log


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_other_command_works_in_the_order_of_the_readme(
    clone: Clone, provider: str, receiver: Path
) -> None:
    after: dict[str, Callable[[], bool]] = {
        "cp examples": lambda: set(clone.jobs()) == {"support-tickets", "product-search"},
        "obm flush": lambda: all(clone.summary(job).exists() for job in clone.jobs()),
        "curl": lambda: bool(_received(receiver)),
    }
    with UpTerminal(clone, provider) as up:
        for block in BLOCKS:
            if block in (DEMO, TEST, SIMULATE, CONSUMER):
                continue
            if block.endswith("make up\n"):
                up.type(block)
                continue
            clone.run(block)
            holds = next((after[start] for start in after if block.startswith(start)), None)
            if holds is not None:
                until(holds, up.log)
    _check_answers(clone)
    _check_summary(clone)
    _check_files(clone)
    _check_webhook(receiver)


def _received(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()[1:]]


def _check_webhook(log: Path) -> None:
    """See that the receiver printed one result, of the form that the README shows."""
    (result,) = _received(log)
    (shown,) = re.findall(r"^```json\n(\{\"id\".*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    shape = json.loads(shown.replace("[…]", "[]").replace("{…}", "{}"))
    assert list(result) == list(shape)
    assert result["response"].keys() >= shape["response"].keys()
    assert result["response"]["body"].keys() >= shape["response"]["body"].keys()
    assert result["custom_id"] == shape["custom_id"]
    assert result["response"]["status_code"] == shape["response"]["status_code"]


def _check_answers(clone: Clone) -> None:
    asked = (clone.root / "examples" / "support-tickets.jsonl").read_bytes().splitlines()
    told = (clone.root / "answers.jsonl").read_bytes().splitlines()
    summary = json.loads(clone.summary("support-tickets").read_bytes())
    (source,) = summary["sources"]
    assert len(told) == source["accepted"]
    assert source["accepted"] + source["rejected"] == len(asked)


def _check_summary(clone: Clone) -> None:
    """See that docs/results.md names exactly what a summary holds."""
    section = (ROOT / "docs" / "results.md").read_text().split("\n## `summary.json`\n")[1]
    named = re.findall(r"^\| `(\w+)` \|", section.split("\n## ")[0], re.MULTILINE)
    for path in (clone.summary("support-tickets"), clone.summary("product-search", "other-data")):
        assert list(json.loads(path.read_bytes())) == named


def _check_files(clone: Clone) -> None:
    folder = clone.summary("support-tickets").parent
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"results.jsonl", "results.sorted.jsonl", "summary.json"} <= names
    # Which job's batch was the first is chance: both files lay in the inbox.
    (part,) = (name for name in names if name.startswith("parts/"))
    assert part in {"parts/part-000001.parquet", "parts/part-000002.parquet"}
