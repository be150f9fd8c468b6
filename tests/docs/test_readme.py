"""Every command of the README that needs neither Docker nor money does what it says.

The commands of its `sh` blocks run in the order of the README, in a folder that looks like a
clone of the repository. Where the README speaks to a provider, a simulator answers.
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

import pytest
from documents import ROOT
from running_commands import environment_of, free_port, started, until

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SHOWN_ONLY = re.findall(r"^```console\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PORT_OF_THE_README, API_OF_THE_README = "8080", ":4000"

DEMO, TEST, SIMULATE = "make demo\n", "make test\n", "obm simulate --port 8080\n"
UP = next(block for block in BLOCKS if block.endswith("make up\n"))


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A folder like a clone in which `make setup` has run, and what its commands see."""

    root: Path
    environment: dict[str, str]
    port: int
    api_port: int

    def command(self, block: str) -> list[str]:
        text = block.replace(PORT_OF_THE_README, str(self.port))
        return ["bash", "-euc", text.replace(API_OF_THE_README, f":{self.api_port}")]

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
    return Clone(
        root=tmp_path,
        environment=environment_of({"OBM_PREFECT_PORT": 0, "OBM_PORT": (api_port := free_port())}),
        port=free_port(),
        api_port=api_port,
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
    assert planned == [".venv/bin/python -m pytest -q"]


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
        yield f"http://127.0.0.1:{clone.port}/v1"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_other_command_works_in_the_order_of_the_readme(clone: Clone, provider: str) -> None:
    story = [block for block in BLOCKS if block not in (DEMO, TEST, SIMULATE)]
    log = clone.root / "up.log"
    after: dict[str, Callable[[], bool]] = {
        "cp": lambda: set(clone.jobs()) == {"support-tickets", "product-search"},
        "obm flush": lambda: all(clone.summary(job).exists() for job in clone.jobs()),
    }
    with ExitStack() as running:
        for block in story:
            if block == UP:
                environment = clone.environment | {
                    "OPENAI_BASE_URL": provider, "OBM_POLL_MIN": "0.2", "OBM_POLL_MAX": "1",
                }  # fmt: skip
                command = clone.command(block.replace("make up", "exec make up"))
                running.enter_context(
                    started(command, environment=environment, folder=clone.root, log=log)
                )
                until(lambda: "is running" in log.read_text(), log)
                continue
            clone.run(block)
            beginning = next((word for word in after if block.startswith(word)), None)
            if beginning is not None and "OBM_DATA_DIR" not in block:
                until(after[beginning], log)
    _check_answers(clone)
    _check_summary(clone)
    _check_files(clone)


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
