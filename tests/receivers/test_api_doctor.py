"""`GET /api/doctor`: the doctor's report over REST."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ailing import healthy
from factories import Store
from fastapi import FastAPI
from fastapi.testclient import TestClient

from batching.access import Scope
from batching.settings import Settings
from receivers import api_doctor
from receivers.answers import answer_errors_in_one_shape
from receivers.authentication import needed_scope
from receivers.context import build_context


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = FastAPI()
    app.state.context = build_context(Settings(_env_file=None), store.directory)
    app.include_router(api_doctor.router)
    answer_errors_in_one_shape(app)
    with TestClient(app) as asking:
        yield asking


def test_a_healthy_system_is_said_to_be_healthy(store: Store, client: TestClient) -> None:
    healthy(store)

    report = client.get("/api/doctor").json()

    assert (report["healthy"], report["findings"]) == (True, [])
    assert report["counted"]["requests"] == 19


def test_it_is_examined_anew_when_the_ledger_has_changed_and_only_then(
    store: Store, client: TestClient
) -> None:
    healthy(store)
    first = client.get("/api/doctor").json()
    assert client.get("/api/doctor").json() == first

    store.run("UPDATE requests SET state = 'lost' WHERE segment = 4 AND row_index = 0")

    report = client.get("/api/doctor").json()
    assert report["healthy"] is False
    assert report["at"] > first["at"]
    (found,) = (each for each in report["findings"] if each["code"] == "unknown_state")
    assert found["ids"] == ["cafe0123-4-0 id-0"]
    assert found["severity"] == "fault"


def test_a_lost_ledger_is_a_503_that_says_what_to_do(store: Store, client: TestClient) -> None:
    healthy(store)
    store.directory.ledger.unlink()
    shutil.rmtree(store.directory.snapshots)
    store.directory.snapshots.mkdir()

    reply = client.get("/api/doctor")

    assert reply.status_code == 503
    assert "is gone" in reply.json()["errors"][0]["detail"]


def test_looking_needs_the_scope_to_read() -> None:
    assert needed_scope("GET", "/api/doctor") is Scope.READ
