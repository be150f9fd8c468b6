"""Files sent with `hold`: nothing of them is taken in before somebody says so."""

import json
import os
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from factories import Store
from web_process import StartWeb, Web, json_lines, request_line

from batching.access import Scope
from storage.access_tokens import create_token
from storage.held_files import KEPT_SECONDS
from storage.ledger import Ledger

BAD = b'{"custom_id":"bad","method":"GET"}\n'


def lines_of(count: int) -> bytes:
    prefix = uuid4().hex
    return json_lines(*(request_line(f"{prefix}-{number}") for number in range(count)))


def held_by(web: Web, body: bytes, *, name: str | None = None, job: str | None = None) -> str:
    parameters = {"name": name or f"{uuid4().hex}.jsonl", "hold": "true"}
    if job is not None:
        parameters["job"] = job
    answer = web.client.post("/api/files", params=parameters, content=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["held"])


def estimated(web: Web, held: str) -> dict[str, Any]:
    """Ask until the file has been read to its end."""
    deadline = time.monotonic() + 10
    while True:
        found: dict[str, Any] = web.client.get(f"/api/held-files/{held}").json()
        if found["estimate"] is not None:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_a_held_file_tells_what_it_would_send_and_is_not_taken_in(shared_web: Web) -> None:
    name = f"{uuid4().hex}.jsonl"
    held = held_by(shared_web, lines_of(30) + BAD, name=name)
    found = estimated(shared_web, held)
    estimate = found["estimate"]
    assert (found["file"], found["job"]) == (name, name.removesuffix(".jsonl"))
    assert (estimate["accepted"], estimate["rejected"], estimate["batches"]) == (30, 1, 1)
    assert estimate["first_refusals"][0]["line"] == 31
    assert 0 < estimate["batch_usd"] < estimate["synchronous_usd"]
    assert estimate["lanes"][0]["model"] == "gpt-4o-mini"
    assert found["read_bytes"] == found["bytes"]
    assert name not in shared_web.inbox_names()


def test_a_started_file_lies_in_the_inbox_and_waits_no_more(shared_web: Web) -> None:
    name, body = f"{uuid4().hex}.jsonl", lines_of(3)
    held = held_by(shared_web, body, name=name, job='{"label": "held ones"}')
    started = shared_web.client.post(f"/api/held-files/{held}/start")
    assert started.status_code == 202
    assert started.json() == {
        "file": name, "job": "held ones", "bytes": len(body), "duplicate": False,
    }  # fmt: skip
    assert (shared_web.directory.inbox / name).read_bytes() == body
    side_file = shared_web.directory.inbox / name.replace(".jsonl", ".job.json")
    assert json.loads(side_file.read_bytes()) == {"label": "held ones"}
    assert shared_web.client.get(f"/api/held-files/{held}").status_code == 404
    assert shared_web.client.post(f"/api/held-files/{held}/start").status_code == 404


def test_a_discarded_file_is_gone(shared_web: Web) -> None:
    name = f"{uuid4().hex}.jsonl"
    held = held_by(shared_web, lines_of(3), name=name)
    listed = shared_web.client.get("/api/held-files").json()["items"]
    assert held in [item["held"] for item in listed]
    assert shared_web.client.delete(f"/api/held-files/{held}").status_code == 204
    assert shared_web.client.delete(f"/api/held-files/{held}").status_code == 404
    assert not list(shared_web.directory.receiving.glob(f"*{held}*"))
    assert name not in shared_web.inbox_names()


def test_a_file_that_cannot_be_used_says_why(shared_web: Web) -> None:
    estimate = estimated(shared_web, held_by(shared_web, b"\n\n"))["estimate"]
    assert estimate["refused_because"] == "the file holds no requests"
    assert (estimate["batch_usd"], estimate["lanes"]) == (None, [])


def test_a_model_without_a_price_makes_the_sum_unknown(shared_web: Web) -> None:
    line = request_line(uuid4().hex)
    line["body"]["model"] = "nobody-knows-this"
    body = json_lines(line, request_line(uuid4().hex))
    estimate = estimated(shared_web, held_by(shared_web, body))["estimate"]
    assert estimate["batch_usd"] is None
    assert estimate["models_without_price"] == ["nobody-knows-this"]


@pytest.mark.parametrize("held", ["../../inbox", "..", "0" * 16, "%2e%2e%2fx", "A" * 16])
def test_an_unknown_id_finds_nothing(shared_web: Web, held: str) -> None:
    assert shared_web.client.get(f"/api/held-files/{held}").status_code == 404
    assert shared_web.client.delete(f"/api/held-files/{held}").status_code == 404


def test_who_may_submit_starts_and_who_may_read_looks(start_web: StartWeb) -> None:
    web = start_web()
    submitting = create_token(web.directory, name="sender", scopes=[Scope.SUBMIT])
    looking = create_token(web.directory, name="viewer", scopes=[Scope.READ])
    while web.client.get("/api/jobs").status_code == 200:
        pass  # it looks at the file of tokens now and then

    def as_(token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=web.url, headers=headers)

    with as_(submitting) as sender, as_(looking) as viewer:
        sent = sender.post("/api/files?name=a.jsonl&hold=true", content=lines_of(2))
        path = f"/api/held-files/{sent.json()['held']}"
        assert viewer.get(path).status_code == 200
        assert viewer.post(f"{path}/start").status_code == 403
        assert viewer.delete(path).status_code == 403
        assert sender.get(path).status_code == 403
        assert sender.post(f"{path}/start").status_code == 202
    assert "a.jsonl" in web.inbox_names()


def test_what_nobody_wants_for_a_day_is_deleted_with_the_next_file(shared_web: Web) -> None:
    forgotten = held_by(shared_web, lines_of(2))
    estimated(shared_web, forgotten)
    folder = shared_web.directory.receiving / f".held-{forgotten}"
    long_ago = time.time() - KEPT_SECONDS - 60
    os.utime(folder, (long_ago, long_ago))
    held_by(shared_web, lines_of(2))
    assert not folder.exists()


def test_who_started_and_discarded_a_file_is_in_the_audit_trail(start_web: StartWeb) -> None:
    web = start_web()
    body = lines_of(2)
    first, second = (held_by(web, body, name=f"{name}.jsonl") for name in ("one", "two"))
    assert web.client.post(f"/api/held-files/{first}/start").status_code == 202
    assert web.client.delete(f"/api/held-files/{second}").status_code == 204
    assert web.client.delete(f"/api/held-files/{second}").status_code == 404
    store = Store(web.directory, Ledger(web.directory))
    rows = store.rows("SELECT entity, entity_id, target, reason, actor FROM transitions")
    assert [(row["entity"], row["entity_id"], row["target"], row["actor"]) for row in rows] == [
        ("file", "one.jsonl", "started", "api:local"),
        ("file", "two.jsonl", "discarded", "api:local"),
    ]
    assert rows[0]["reason"] == f"job one, {len(body)} bytes"


def test_what_is_said_at_the_start_counts_before_what_the_file_came_with(shared_web: Web) -> None:
    held = held_by(shared_web, lines_of(2), job='{"label": "early", "max_wait_seconds": 5}')
    begin = f"/api/held-files/{held}/start"
    for wrong in ("{", '{"labl": 1}', '{"delivery_config": {"type": "named", "name": "away"}}'):
        assert shared_web.client.post(begin, params={"job": wrong}).status_code == 422
    answer = shared_web.client.post(begin, params={"job": '{"label": "late"}'})
    assert (answer.status_code, answer.json()["job"]) == (202, "late")
    stem = answer.json()["file"].removesuffix(".jsonl")
    side_file = shared_web.directory.inbox / f"{stem}.job.json"
    assert json.loads(side_file.read_bytes()) == {"label": "late", "max_wait_seconds": 5}
