"""The reading and acting routes, asked over a real ledger."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import Store, chat_lines, failure_line, success_line
from fastapi import FastAPI
from fastapi.testclient import TestClient

from batching.settings import Settings
from receivers.answers import answer_errors_in_one_shape
from receivers.application import ROUTERS
from receivers.context import build_context


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = FastAPI()
    app.state.context = build_context(Settings(_env_file=None), store.directory)
    for router in ROUTERS:
        app.include_router(router)
    answer_errors_in_one_shape(app)
    with TestClient(app) as asking:
        yield asking


def answered(client: TestClient, path: str, **query: Any) -> Any:
    reply = client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_request_is_shown_with_its_result_and_an_unknown_one_is_404(
    store: Store, client: TestClient
) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    store.answer_all(batch)
    shown = answered(client, "/api/requests/id-1")
    assert (shown["state"], shown["job"], shown["delivery_state"]) == (
        "succeeded", "job", "pending",
    )  # fmt: skip
    assert shown["result"]["custom_id"] == "id-1"
    assert client.get("/api/requests/nobody").json()["errors"][0]["code"] == "not_found"


def test_an_id_in_two_jobs_is_ambiguous_until_a_job_is_named(
    store: Store, client: TestClient
) -> None:
    store.take_in(chat_lines(1), name="a", source_id="s1")
    store.take_in(chat_lines(1), name="b", source_id="s2")
    reply = client.get("/api/requests/id-0")
    assert (reply.status_code, reply.json()["errors"][0]["code"]) == (409, "ambiguous_custom_id")
    assert answered(client, "/api/requests/id-0", job="b")["job"] == "b"


def test_pages_of_requests_hold_each_one_once(store: Store, client: TestClient) -> None:
    store.take_in(chat_lines(5))
    seen, cursor = [], ""
    while cursor is not None:
        found = answered(client, "/api/requests", limit=2, after=cursor)
        seen += [item["custom_id"] for item in found["items"]]
        cursor = found["next"]
    assert seen == ["id-4", "id-3", "id-2", "id-1", "id-0"]


def test_a_pending_request_is_cancelled_at_once_and_a_failed_one_is_not(
    store: Store, client: TestClient
) -> None:
    store.take_in(chat_lines(1))
    first = client.post("/api/requests/id-0/cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    store.take_in(chat_lines(1, prefix="x"), source_id="s2", name="other")
    batch = store.ended()
    store.collect(batch, error=[failure_line(store.wire_ids(batch)[0])])
    assert client.post("/api/requests/x-0/cancel").status_code == 409


def test_a_chain_of_cursors_brings_every_result_once(store: Store, client: TestClient) -> None:
    store.take_in(chat_lines(5))
    store.answer_all(store.ended())
    store.take_in(chat_lines(2, prefix="y"), source_id="s2", name="other")
    store.answer_all(store.ended())
    seen, cursor = [], ""
    while True:
        reply = client.get("/api/results", params={"after": cursor, "limit": 2})
        lines = [json.loads(line) for line in reply.text.splitlines()]
        cursor = reply.headers["X-Obm-Next-Cursor"]
        if not lines:
            break
        assert all(line["result"]["custom_id"] == line["custom_id"] for line in lines)
        seen += [line["custom_id"] for line in lines]
    assert seen == ["id-0", "id-1", "id-2", "id-3", "id-4", "y-0", "y-1"]
    only = client.get("/api/results", params={"job": "other"}).text.splitlines()
    assert [json.loads(line)["job"] for line in only] == ["other", "other"]


def test_a_job_streams_its_results_in_input_order(store: Store, client: TestClient) -> None:
    store.take_in(chat_lines(3))
    batch = store.ended()
    store.collect(batch, [success_line(wire) for wire in reversed(store.wire_ids(batch))])
    lines = client.get("/api/jobs/job/results").text.splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["id-0", "id-1", "id-2"]
    assert answered(client, "/api/jobs/job")["succeeded"] == 3
    assert client.get("/api/jobs/nobody/results").status_code == 404


def test_a_batch_is_cancelled_once_and_its_files_go_only_at_its_end(
    store: Store, client: TestClient
) -> None:
    store.take_in(chat_lines(2))
    batch = store.claim()
    store.write_input(batch)
    assert client.delete(f"/api/batches/{batch.batch_id}").status_code == 409
    assert client.get(f"/api/batches/{batch.batch_id}/files/input").text.count("\n") == 2
    for _ in range(2):
        reply = client.post(f"/api/batches/{batch.batch_id}/cancel")
        assert (reply.status_code, reply.json()["state"]) == (202, "cancelled")
    assert client.delete(f"/api/batches/{batch.batch_id}").status_code == 200
    assert client.get(f"/api/batches/{batch.batch_id}/files/input").status_code == 404
    assert answered(client, f"/api/batches/{batch.batch_id}")["cancelled"] == 2
    assert client.post(f"/api/batches/{batch.batch_id}/restart").status_code == 409


def test_figures_and_states_are_told(store: Store, client: TestClient) -> None:
    store.take_in(chat_lines(3))
    assert 'obm_requests{state="pending"} 3.0' in client.get("/metrics").text
    assert answered(client, "/health") == {"status": "ok"}
    assert client.get("/ready").status_code == 503
    assert answered(client, "/api/destinations")["items"][0]["kind"] == "file"
    assert answered(client, "/api/deliveries")["items"] == []
    assert answered(client, "/api/batches")["items"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/results?after=!!", "/api/requests?after=MQ", "/api/batches/99999999999",
        "/api/requests?limit=0", "/api/jobs?after=a", "/api/requests?job=%00",
        "/api/requests?since=0001-01-01T00:00:00%2B14:00",
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_the_one_shape(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 422, reply.text
    assert {"code", "title", "detail"} <= reply.json()["errors"][0].keys()


def test_no_reader_sees_what_stands_behind_an_address(store: Store, client: TestClient) -> None:
    config = {"type": "webhook", "webhook_url": "https://h.example/hook?key=hush"}
    line = json.loads(chat_lines(1)[0]) | {"delivery_config": config}
    store.take_in([json.dumps(line).encode()])
    store.answer_all(store.ended())
    store.run("UPDATE jobs SET delivery_config = ?", json.dumps(config))
    (delivery,) = answered(client, "/api/deliveries")["items"]
    pages = [
        client.get(path).text
        for path in (
            "/api/requests", "/api/requests/id-0", "/api/deliveries", "/api/destinations",
            f"/api/deliveries/{delivery['id']}", "/api/stats/jobs",
        )
    ]  # fmt: skip
    assert all("https://h.example/hook?***" in page for page in pages)
    assert "hush" not in "".join(pages)
