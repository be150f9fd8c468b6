"""Lines that were refused, and figures as CSV, over REST."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import Store, chat_lines
from fastapi import FastAPI
from fastapi.testclient import TestClient
from report_ledger import AT, HOUR, known_ledger

from batching.settings import Settings
from receivers import api_rejected_lines, api_stats
from receivers.answers import answer_errors_in_one_shape
from receivers.context import build_context


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = FastAPI()
    app.state.context = build_context(Settings(_env_file=None), store.directory)
    for router in (api_stats.router, api_rejected_lines.router):
        app.include_router(router)
    answer_errors_in_one_shape(app)
    with TestClient(app) as asking:
        yield asking


def test_refused_lines_come_with_file_number_reason_and_text(
    store: Store, client: TestClient
) -> None:
    store.take_in(chat_lines(2), name="notes", source_id="s1")
    store.run("UPDATE sources SET rejected = 2")
    lines = [
        {"line": 3, "code": "invalid_json", "reason": "not JSON", "raw": '{"é'},
        {"line": 9, "code": "invalid_json", "reason": "not JSON", "raw_base64": "/w=="},
    ]
    kept = "\n".join(json.dumps(line) for line in lines)
    (store.directory.rejected / "s1__notes.jsonl").write_text(kept + "\n")
    answer = client.get("/api/jobs/notes/rejected")
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert found == [{"source": "notes", **line} for line in lines]
    assert 'filename="notes-rejected.jsonl"' in answer.headers["content-disposition"]


def test_refused_lines_that_were_cleared_away_are_none(store: Store, client: TestClient) -> None:
    store.take_in(chat_lines(2), name="notes", source_id="s1")
    store.run("UPDATE sources SET rejected = 2")
    assert client.get("/api/jobs/notes/rejected").text == ""
    assert client.get("/api/jobs/unknown/rejected").status_code == 404


def test_figures_are_had_as_csv_with_unknown_money_left_empty(
    store: Store, client: TestClient
) -> None:
    known_ledger(store)
    asked = {"since": (AT - 48 * HOUR).isoformat(), "until": AT.isoformat(), "format": "csv"}
    answer = client.get("/api/stats/usage_over_time", params=asked)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    told = client.get("/api/stats/usage_over_time", params=asked | {"format": "json"}).json()
    assert [int(row["requests"]) for row in rows] == [one["requests"] for one in told["data"]]
    assert {row["cost_usd"] for row in rows if row["batches"] == "0"} == {""}


def test_a_distribution_as_csv_is_its_histogram(store: Store, client: TestClient) -> None:
    known_ledger(store)
    text = client.get("/api/stats/time_to_result", params={"format": "csv"}).text
    assert text.splitlines()[0] == "from_seconds,to_seconds,count"
    assert len(text.splitlines()) == 13
