"""`.ci/run` installs what is missing, runs everything, and fails when any part fails."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from container_files import ROOT

_TOOLS = ("bash", "env", "make", "sh", "dirname", "echo")
_MAKEFILE = """\
check:
\t@echo checked with CI=$(CI); exit {check}
test:
\t@echo '12 passed in 3.45s'; exit {test}
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A folder with the script, and a machine that has only these programs."""

    root: Path

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    def has(self, name: str, script: str = "exit 0") -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.root / ".ci" / "run"], env={"PATH": str(self.programs)}, check=False,
            capture_output=True, text=True, cwd="/",
        )  # fmt: skip

    def makes(self, *, check: int, test: int) -> None:
        (self.root / "Makefile").write_text(_MAKEFILE.format(check=check, test=test))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(root=tmp_path)
    (tmp_path / ".ci").mkdir()
    found.programs.mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    for tool in _TOOLS:
        (found.programs / tool).symlink_to(str(shutil.which(tool)))
    found.has("id", "echo 0")
    found.has("apt-get", f'echo "$@" >> {tmp_path}/installed')
    found.makes(check=0, test=0)
    return found


@pytest.mark.parametrize(
    ("check", "test", "ends_well"), [(0, 0, True), (1, 0, False), (0, 1, False)]
)
def test_any_failure_fails_the_whole_and_hides_nothing(
    machine: Machine, check: int, test: int, *, ends_well: bool
) -> None:
    machine.makes(check=check, test=test)
    finished = machine.run()
    assert (finished.returncode == 0) is ends_well
    assert "checked with CI=true" in finished.stdout
    assert "12 passed in 3.45s" in finished.stdout


def test_what_is_there_is_not_installed(machine: Machine) -> None:
    for program in ("rabbitmq-server", "chromium", "gcc"):
        machine.has(program)
    assert machine.run().returncode == 0
    assert not (machine.root / "installed").exists()


def test_root_installs_what_is_missing_and_only_that(machine: Machine) -> None:
    machine.has("chromium")
    machine.has("gcc")
    assert machine.run().returncode == 0
    update, install = (machine.root / "installed").read_text().splitlines()
    assert update.split()[0] == "update"
    assert install.split()[0] == "install"
    assert install.endswith(" rabbitmq-server")


def test_somebody_else_is_told_what_is_missing(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    finished = machine.run()
    assert finished.returncode == 0
    assert "rabbitmq-server chromium" in finished.stderr
    assert not (machine.root / "installed").exists()


def test_a_failed_installation_fails_the_whole(machine: Machine) -> None:
    machine.has("apt-get", "exit 100")
    finished = machine.run()
    assert finished.returncode != 0
    assert "passed" not in finished.stdout
