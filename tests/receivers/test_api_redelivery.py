"""Bringing results again, asked over a real ledger."""

import json
from pathlib import Path

from factories import Store, chat_line
from fastapi import FastAPI
from fastapi.testclient import TestClient

from batching.settings import Settings
from receivers.answers import answer_errors_in_one_shape
from receivers.application import ROUTERS
from receivers.context import build_context

HOOK = {"type": "webhook", "webhook_url": "https://example.com/in"}


def test_an_exhausted_delivery_is_brought_again_and_can_be_given_up(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "data")
    app = FastAPI()
    app.state.context = build_context(Settings(_env_file=None), store.directory)
    for router in ROUTERS:
        app.include_router(router)
    answer_errors_in_one_shape(app)
    line = json.loads(chat_line("a")) | {"delivery_config": HOOK}
    store.take_in([json.dumps(line).encode()])
    with TestClient(app) as client:
        early = client.post("/api/requests/a/redeliver")
        assert early.json()["errors"][0]["code"] == "invalid_state"
        store.answer_all(store.ended())
        store.run("UPDATE deliveries SET state = 'exhausted'")
        reply = client.post("/api/requests/a/redeliver")
        assert (reply.status_code, reply.json()["message"]) == (202, "Redelivery triggered")
        assert store.value("SELECT state FROM deliveries") == "pending"
        assert client.post("/api/deliveries/1/cancel").json() == {"deliveries": 1}
        assert client.post("/api/deliveries/2/cancel").status_code == 404
        everything = client.post("/api/deliveries/redeliver", json={"failed_only": True})
        assert everything.json() == {"deliveries": 0}
        assert client.post("/api/destinations/1/enable").status_code == 202
        assert client.post("/api/destinations/9/enable").status_code == 404
