"""`obm run --until-idle` from a plain shell, as cron would start it."""

import json
import subprocess
from pathlib import Path

import pytest
from factories import chat_lines
from running_commands import environment_of

from simulator.process import SimulatorProcess

pytestmark = [pytest.mark.slow, pytest.mark.prefect]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run over five requests, of which one fails for good."""
    folder = tmp_path_factory.mktemp("run")
    with SimulatorProcess(folder / "sim", scenarios=["error_lines:containing=wrong"]) as simulator:
        inbox = folder / "data" / "staging" / "inbox"
        inbox.mkdir(parents=True)
        lines = [line.replace(b"hello", b"hello %d" % at) for at, line in enumerate(chat_lines(5))]
        lines[3] = lines[3].replace(b"hello", b"wrong")
        (inbox / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        run = subprocess.run(
            ["obm", "run", "--until-idle", "--poll-interval", "0.2", "--timeout", "60"],
            cwd=folder, capture_output=True, text=True, check=False,
            env=environment_of({"OPENAI_BASE_URL": simulator.url, "OPENAI_API_KEY": "x"}),
        )  # fmt: skip
    (folder / "run.json").write_text(json.dumps([run.returncode, run.stdout, run.stderr]))
    return folder


def test_it_ends_with_three_because_a_request_failed(finished: Path) -> None:
    code, out, err = json.loads((finished / "run.json").read_text())
    assert (code, out) == (3, ""), err


def test_what_it_prints_is_its_story_and_no_noise(finished: Path) -> None:
    _, _, err = json.loads((finished / "run.json").read_text())
    assert "ingest a.jsonl: 5 requests" in err
    assert [noise for noise in ("leaked", "Traceback", "Beginning flow run") if noise in err] == []


def test_every_answer_is_there_afterwards(finished: Path) -> None:
    said = subprocess.run(
        ["obm", "results", "a"], cwd=finished, env=environment_of(), capture_output=True, check=True
    )
    codes = [json.loads(line)["response"]["status_code"] for line in said.stdout.splitlines()]
    assert codes == [200, 200, 200, 400, 200]
