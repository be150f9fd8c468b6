"""Figures and exports over REST, of a ledger in which everything is known."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from factories import Store, chat_line
from fastapi import FastAPI
from fastapi.testclient import TestClient
from report_ledger import AT, HOUR, known_ledger

from batching.settings import Settings
from receivers import api_export, api_stats
from receivers.answers import answer_errors_in_one_shape
from receivers.context import build_context
from receivers.figures_csv import figures_csv
from storage.directory import DataDirectory
from storage.reports import request_export
from storage.reports.catalogue import REPORTS


def client_of(directory: DataDirectory) -> TestClient:
    app = FastAPI()
    app.state.context = build_context(Settings(_env_file=None), directory)
    for router in (api_stats.router, api_export.router):
        app.include_router(router)
    answer_errors_in_one_shape(app)
    return TestClient(app)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = known_ledger(Store.at(tmp_path_factory.mktemp("known") / "data"))
    with client_of(store.directory) as asking:
        yield asking


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[TestClient]:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    with client_of(directory) as asking:
        yield asking


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_list_of_reports_says_what_each_one_is(client: TestClient) -> None:
    items = client.get("/api/stats").json()["items"]
    assert [item["name"] for item in items] == list(REPORTS)
    assert all(item["description"].endswith(".") for item in items)


def test_a_report_is_answered_with_its_parameters(client: TestClient) -> None:
    asked = {"since": (AT - 48 * HOUR).isoformat(), "until": AT.isoformat(), "job": "one"}
    found = client.get("/api/stats/usage", params=asked).json()
    assert (found["name"], found["data"]["requests"]) == ("usage", 5)
    unpriced = client.get("/api/stats/usage", params=asked | {"job": "two"}).json()["data"]
    assert (unpriced["cost_usd"], unpriced["unpriced_batches"]) == (None, 1)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/stats/weather", 404),
        ("/api/stats/overview?job=one", 422),
        ("/api/stats/flow?bucket_seconds=1", 422),
        ("/api/stats/flow?until=0001-01-01T00:00:00Z", 422),
        ("/api/export/requests?format=xlsx", 422),
        ("/api/export/requests?state=lost", 422),
    ],
)
def test_what_cannot_be_asked_is_refused_in_the_one_shape(
    client: TestClient, path: str, status: int
) -> None:
    reply = client.get(path)
    assert reply.status_code == status
    assert reply.json()["errors"][0]["detail"]


def test_before_anything_was_taken_in_figures_are_null_and_there_is_no_export(
    fresh: TestClient,
) -> None:
    assert fresh.get("/api/stats/overview").json()["data"] is None
    assert fresh.get("/api/export/requests").status_code == 404


def test_the_export_holds_every_request_once_in_the_order_of_intake(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_export, "ROWS_A_PIECE", 2)
    reply = client.get("/api/export/requests")
    assert reply.headers["content-type"].startswith("text/csv")
    assert 'filename="requests-' in reply.headers["content-disposition"]
    rows = rows_of(reply.text)
    expected = [("one", 5), ("two", 4), ("three", 2), ("four", 3)]
    assert [row["custom_id"] for row in rows] == [
        f"{job}-{number}" for job, count in expected for number in range(count)
    ]
    assert rows[0]["accepted_at"] == "2026-03-10T03:00:00.000Z"
    assert (rows[6]["delivery_state"], rows[6]["target"]) == (
        "exhausted", "webhook:https://receiver.example:443",
    )  # fmt: skip


def test_the_export_has_the_same_filter_as_the_list(client: TestClient) -> None:
    chosen = {"job": "two", "delivery_state": "pending"}
    rows = rows_of(client.get("/api/export/requests", params=chosen).text)
    assert [row["custom_id"] for row in rows] == ["two-2", "two-3"]
    nothing = client.get("/api/export/requests", params={"custom_id_part": "none such"}).text
    assert nothing.startswith("id,custom_id,job")
    assert rows_of(nothing) == []


@pytest.mark.parametrize("chosen", [{}, {"job": "two"}, {"job": "no such"}])
def test_parquet_holds_what_csv_holds(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str]
) -> None:
    monkeypatch.setattr(request_export, "ROWS_A_PIECE", 2)
    reply = client.get("/api/export/requests", params=chosen | {"format": "parquet"})
    frame = pl.read_parquet(io.BytesIO(reply.content))
    rows = rows_of(client.get("/api/export/requests", params=chosen).text)
    assert frame["custom_id"].to_list() == [row["custom_id"] for row in rows]
    assert frame.schema["accepted_at"] == pl.Datetime("us", "UTC")
    assert frame.schema["batch_id"] == pl.Int32


def test_a_custom_id_that_is_a_formula_is_text_in_csv_and_raw_in_parquet(tmp_path: Path) -> None:
    sent = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "a=b", "'q", "é-1"]
    store = Store.at(tmp_path / "data")
    store.take_in([chat_line(custom_id) for custom_id in sent])
    with client_of(store.directory) as asking:
        rows = rows_of(asking.get("/api/export/requests").text)
        raw = asking.get("/api/export/requests", params={"format": "parquet"}).content
    assert [row["custom_id"] for row in rows] == [
        "'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "a=b", "'q", "é-1"
    ]  # fmt: skip
    assert pl.read_parquet(io.BytesIO(raw))["custom_id"].to_list() == sent


def test_in_figures_as_csv_a_name_is_no_formula_and_a_negative_number_is_one() -> None:
    said = figures_csv([{"job": "=HYPERLINK(1)", "saved_usd": -0.5, "count": None}])
    assert said == "job,saved_usd,count\n'=HYPERLINK(1),-0.5,\n"
