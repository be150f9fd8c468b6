"""What every start of `obm` promises, before any command does its work."""

import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import Obm, RequestFile
from running_commands import environment_of

COMMANDS = (
    "up", "pipeline", "run", "demo", "simulate", "status", "jobs", "results", "submit",
    "estimate", "flush", "cancel", "pause", "resume", "retry", "config", "version", "web",
    "consume", "token", "intake", "deliveries", "destinations", "redeliver",
)  # fmt: skip


def test_version_says_the_installed_version(obm: Obm) -> None:
    assert obm("version").out.strip() == version("openai-batch-manager")


def test_obm_and_its_module_are_the_same_command() -> None:
    for command in (["obm"], [sys.executable, "-m", "deployments.cli"]):
        finished = subprocess.run(
            [*command, "version"], env=environment_of(), capture_output=True, check=True, text=True
        )
        assert finished.stdout.strip() == version("openai-batch-manager")


def test_starting_imports_neither_prefect_nor_the_database() -> None:
    program = (
        "import sys, deployments.cli; "
        "print(sorted({'prefect', 'duckdb', 'polars', 'openai'} & sys.modules.keys()))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert finished.stdout.strip() == "[]"


def test_running_the_pipeline_imports_prefect_only_after_its_address_is_set() -> None:
    program = (
        "import sys, deployments.cli.running, deployments.pipeline, deployments.until_idle, "
        "deployments.roles; print('prefect' in sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert finished.stdout.strip() == "False"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(obm: Obm, command: str) -> None:
    said = obm(command, "--help")
    assert (said.code, f"Usage: obm {command}" in said.out) == (0, True)


def test_the_help_names_every_command(obm: Obm) -> None:
    text = obm("--help").out
    assert [command for command in COMMANDS if f" {command} " not in text] == []


def test_an_unknown_command_is_wrong_usage(obm: Obm) -> None:
    assert obm("frobnicate").code == 2


def test_every_fault_of_the_settings_is_named_at_once(obm: Obm) -> None:
    wrong = {"OBM_PORT": "x", "OBM_MAX_ATTEMPTS": "0", "OBM_TOKEN_LIMITS": "gpt"}
    said = obm("config", **wrong)
    assert said.code == 2
    assert [name for name in wrong if name not in said.err] == []
    assert "Traceback" not in said.err


def test_a_traceback_is_shown_only_when_it_is_asked_for(obm: Obm) -> None:
    assert "Traceback" in obm("config", OBM_PORT="x", OBM_DEBUG="1").err


def test_an_env_file_that_is_no_text_is_named(obm: Obm, folder: Path) -> None:
    (folder / ".env").write_bytes(b"OBM_PORT=\xff\xfe\n")
    said = obm("config")
    assert (said.code, ".env" in said.err, "Traceback" in said.err) == (2, True, False)


def test_a_data_directory_that_is_a_file_is_a_sentence(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    (folder / "occupied").write_text("")
    said = obm("submit", request_file("a.jsonl"), OBM_DATA_DIR="occupied")
    assert (said.code, "occupied" in said.err, "Traceback" in said.err) == (2, True, False)


@pytest.mark.parametrize("command", ["up", "pipeline"])
def test_without_a_key_one_sentence_says_what_is_missing(
    obm: Obm, folder: Path, command: str
) -> None:
    said = obm(command)
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "OPENAI_API_KEY" in said.err
    assert list(folder.iterdir()) == []


def test_run_wants_to_be_told_that_it_ends(obm: Obm) -> None:
    said = obm("run")
    assert (said.code, "--until-idle" in said.err) == (2, True)


def test_an_unknown_log_level_is_refused_with_the_known_ones(obm: Obm) -> None:
    said = obm("up", OPENAI_API_KEY="x", OBM_LOG_LEVEL="LOUD")
    assert (said.code, "WARNING" in said.err) == (2, True)


def test_ctrl_c_ends_a_waiting_command_with_130_and_no_traceback(
    folder: Path, request_file: RequestFile
) -> None:
    command = ["obm", "submit", str(request_file("a.jsonl")), "--wait"]
    with subprocess.Popen(
        command, env=environment_of(), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _until_it_waits(folder / "data" / "staging" / "inbox" / "a.jsonl")
        assert process.stdout is not None
        process.stdout.readline()  # it has said what it brought: from now on it only waits
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, b"Traceback" in errors) == (130, False)


def _until_it_waits(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
