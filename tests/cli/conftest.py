"""The real command line in a folder of its own, away from the settings of whoever runs it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import Obm, RequestFile, Said
from factories import Store, chat_lines
from typer.testing import CliRunner

from deployments.cli import application

FOREIGN = ("OBM_", "OPENAI_", "PREFECT_", "RABBITMQ_")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder; the data directory in it is `data`."""
    for name in os.environ:
        if name.upper().startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def obm(folder: Path) -> Obm:
    """Return a function that runs `obm` in this process."""
    runner = CliRunner()

    def run(*arguments: object, answer: str | None = None, **environment: str) -> Said:
        result = runner.invoke(
            application, [str(each) for each in arguments], input=answer, env=environment
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    assert folder.exists()
    return run


@pytest.fixture
def store(folder: Path) -> Store:
    """Return the data directory with an empty ledger."""
    return Store.at(folder / "data")


@pytest.fixture
def request_file(folder: Path) -> RequestFile:
    """Return a function that writes a request file and returns where it is."""

    def write(name: str, lines: Sequence[bytes] | int = 3) -> Path:
        text = chat_lines(lines, prefix=name) if isinstance(lines, int) else lines
        path = folder / name
        path.write_bytes(b"".join(line + b"\n" for line in text))
        return path

    return write
