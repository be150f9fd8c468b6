"""The commands of docs/api.md and the destinations of docs/delivery.md, tried on a real server.

The commands run in their order, beside a pipeline and a simulator, in a folder with the examples.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from documents import ROOT
from running_commands import environment_of, free_port, started, until
from web_process import Web, end, request_line, start

from simulator.process import SimulatorProcess

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
DELIVERY = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", API, re.MULTILINE | re.DOTALL)
(TOKEN_BLOCK,) = (text for _, text in BLOCKS if text.startswith("obm token "))
(NAMED_DESTINATIONS,) = re.findall(r"^```toml\n(.*?)^```", DELIVERY, re.MULTILINE | re.DOTALL)
DESTINATIONS = re.findall(r"^\| `(\{\"type\".*?\})` \|", DELIVERY, re.MULTILINE)
PIPELINE = ROOT / "tests" / "plain_pipeline.py"
BIG_JOB = "nightly"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who types what the document says, in a folder like a clone."""

    folder: Path
    web: Web

    def type(self, language: str, text: str) -> str:
        text = text.replace("127.0.0.1:4000", f"127.0.0.1:{self.web.port}")
        text = text.replace("curl -sS", "curl -sS --fail-with-body")
        command = ["bash", "-euc"] if language == "sh" else [sys.executable, "-c"]
        finished = subprocess.run(
            [*command, text], cwd=self.folder, check=False, capture_output=True, text=True,
            timeout=60, env=environment_of({"OBM_DATA_DIR": self.web.directory.root}),
        )  # fmt: skip
        assert finished.returncode == 0, f"{text}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", folder / "examples")
    data, log = folder / "data", folder / "pipeline.log"
    data.mkdir()
    (data / "destinations.toml").write_text(NAMED_DESTINATIONS, encoding="utf-8")
    secrets = dict.fromkeys(re.findall(r"\"env:(\w+)\"", NAMED_DESTINATIONS), "of no importance")
    with SimulatorProcess(folder / "simulator") as simulator:
        settings = secrets | {
            "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": simulator.url, "OBM_SEAL_SECONDS": 0.2,
            "OBM_POLL_MIN": 0.1, "OBM_POLL_MAX": 0.2, "OBM_BATCH_MAX_WAIT": 0,
            "RABBITMQ_URL": f"amqp://127.0.0.1:{free_port()}/",
        }  # fmt: skip
        web = start(data, **settings)
        environment = environment_of(settings, {"OBM_DATA_DIR": data})
        command = [sys.executable, "-W", "ignore", str(PIPELINE), "--forever"]
        with started(command, environment=environment, folder=folder, log=log):
            yield Reader(folder=folder, web=web)
        end(web)


def is_answered(web: Web) -> bool:
    return web.client.get(f"/api/jobs/{BIG_JOB}").json().get("completed_at") is not None


@pytest.mark.slow
def test_every_command_of_the_api_document_works_in_its_order(reader: Reader) -> None:
    told = {}
    for language, text in BLOCKS:
        if f"/api/jobs/{BIG_JOB}/results" in text:
            until(lambda: is_answered(reader.web), reader.folder / "pipeline.log")
        if text != TOKEN_BLOCK:
            told[text] = reader.type(language, text)
    commands = [text for text in told if text.startswith("curl ")]
    posted, results = (told[text] for text in commands if "/bulk" in text or "wait=" in text)
    assert any("1000 requests of job numbers" in said for said in told.values())
    accepted = json.loads(posted)["accepted"]
    assert accepted > 100
    assert all(json.loads(line)["cursor"] for line in results.splitlines())
    assert len((reader.folder / "results.jsonl").read_bytes().splitlines()) == accepted
    assert pl.read_parquet(reader.folder / "results.parquet").height == accepted


@pytest.mark.parametrize("config", DESTINATIONS)
def test_every_destination_of_the_document_is_accepted(reader: Reader, config: str) -> None:
    config = config.replace("https://…", "https://example.com/results")
    line = request_line(config, delivery_config=json.loads(config))
    answer = reader.web.client.post("/api/requests", json=line)
    assert answer.status_code == 202, answer.text


def test_the_document_tells_of_every_kind_of_destination() -> None:
    kinds = {json.loads(config)["type"] for config in DESTINATIONS}
    assert kinds == {"file", "webhook", "rabbitmq", "named"}


def test_once_there_is_a_token_every_call_needs_it(tmp_path: Path) -> None:
    web = start(tmp_path / "data")
    try:
        assert web.client.get("/api/jobs").status_code == 200
        token = Reader(folder=tmp_path, web=web).type("sh", TOKEN_BLOCK).strip()
        assert web.client.get("/api/jobs").status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert web.client.get("/api/jobs", headers=bearer).status_code == 200
        assert web.client.post("/api/flush", headers=bearer).status_code == 403
    finally:
        end(web)
