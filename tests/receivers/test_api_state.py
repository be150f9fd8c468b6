"""`/ready` and `/metrics` of a real web process."""

import json
import time
from typing import Any

from api_process import OLDEST_VIEW_SECONDS, fill
from factories import Store, chat_lines
from web_process import StartWeb, Web, request_line

from storage.health import HealthFile

HOOK = {"type": "webhook", "webhook_url": "https://example.com/in"}


def reasons(web: Web) -> list[str]:
    """Return why the server is not ready."""
    time.sleep(OLDEST_VIEW_SECONDS)
    answer = web.client.get("/ready")
    found: list[str] = answer.json()["reasons"]
    expected = (503, "not_ready") if found else (200, "ready")
    assert (answer.status_code, answer.json()["status"]) == expected
    return found


def figures(web: Web) -> dict[str, float]:
    lines = web.client.get("/metrics").text.splitlines()
    told = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in told}


def test_the_server_is_ready_while_a_pipeline_works_on_its_ledger(start_web: StartWeb) -> None:
    web = start_web()
    missing, idle = reasons(web)
    assert ("no ledger" in missing, "obm up" in idle) == (True, True)
    Store.at(web.directory.root)
    health = HealthFile(web.directory.health, "pipeline")
    health.report("running")
    assert reasons(web) == []
    health.report("waiting", "Prefect does not answer")
    assert reasons(web) == ["the pipeline is waiting: Prefect does not answer"]


def test_a_ledger_that_cannot_be_read_is_told_and_is_no_defect(start_web: StartWeb) -> None:
    web = start_web()
    store = Store.at(web.directory.root)
    HealthFile(web.directory.health, "pipeline").report("running")
    store.run("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    (reason,) = reasons(web)
    assert "newer version" in reason
    web.directory.ledger.write_bytes(b"nonsense" * 1_000)
    (reason,) = reasons(web)
    assert "cannot be read" in reason
    assert figures(web)["obm_ledger_readable"] == 0
    answer = web.client.get("/api/jobs")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "unavailable")


def test_what_comes_in_is_counted_by_door(start_web: StartWeb) -> None:
    web = start_web()
    sent: list[Any] = [request_line("a"), request_line("a"), request_line("a", "other"), {}]
    for line in sent:
        web.client.post("/api/requests", json=line)
    body = json.dumps(request_line("b")) + "\nnonsense\n"
    web.client.post("/api/requests/bulk", content=body)
    web.client.post("/api/files", params={"name": "x.jsonl"}, content=chat_lines(1)[0])
    web.client.post("/api/files", params={"name": "x"}, content=b"x")
    found = figures(web)
    expected = {
        'obm_intake_requests_total{door="single",outcome="accepted"}': 1,
        'obm_intake_requests_total{door="single",outcome="duplicate"}': 1,
        'obm_intake_requests_total{door="single",outcome="refused"}': 2,
        'obm_intake_requests_total{door="bulk",outcome="accepted"}': 1,
        'obm_intake_requests_total{door="bulk",outcome="refused"}': 1,
        'obm_intake_uploads_total{door="bulk",outcome="accepted"}': 1,
        'obm_intake_uploads_total{door="file",outcome="accepted"}': 1,
        'obm_intake_uploads_total{door="file",outcome="refused"}': 1,
    }
    assert {name: found[name] for name in expected} == expected


def test_deliveries_are_told_with_their_outcomes_and_times(start_web: StartWeb) -> None:
    web = start_web()
    store = Store.at(web.directory.root)
    fill(store, "pushed", config=HOOK)
    store.answer_all(store.ended())
    store.run(
        "UPDATE deliveries SET state = 'delivered', created_at = now()::TIMESTAMP "
        "- INTERVAL 8 SECOND, finished_at = now()::TIMESTAMP"
    )
    attempt = "INSERT INTO attempts SELECT delivery_id, 1, {}, '{}', 200, {}, NULL FROM deliveries"
    store.run(attempt.format("now()::TIMESTAMP", "success", 250))
    store.run(attempt.format("TIMESTAMP '2020-01-01'", "timeout", 9999))
    for number, role in enumerate(("web", "dashboard", "consumer"), start=1):
        log = f"{role}-20261123T10000000000{number}-0123abcd.obmlog"
        store.run(
            f"INSERT INTO sources BY NAME SELECT '{role}' AS source_id, 1 AS part, '{log}' AS name,"
            " 'taken_in' AS outcome, 0 AS start_offset, 1 AS end_offset, 1 AS end_line, "
            f"{number} AS accepted, 1 AS rejected, 0 AS repeated, now()::TIMESTAMP AS taken_in_at"
        )
    time.sleep(OLDEST_VIEW_SECONDS)
    found = figures(web)
    expected = {
        'obm_taken_in_requests_total{door="rest",outcome="accepted"}': 3,
        'obm_taken_in_requests_total{door="rest",outcome="refused"}': 2,
        'obm_taken_in_requests_total{door="rabbitmq",outcome="accepted"}': 3,
        'obm_taken_in_requests_total{door="file",outcome="accepted"}': 2,
        'obm_delivery_attempts{outcome="success"}': 2,
        'obm_delivery_attempts{outcome="timeout"}': 2,
        'obm_delivery_attempt_last_hour_count{kind="webhook"}': 2,
        'obm_delivery_attempt_last_hour_seconds{kind="webhook",quantile="0.95"}': 0.25,
        "obm_ledger_readable": 1,
    }
    assert {name: found[name] for name in expected} == expected
    delay = found['obm_delivery_delay_last_hour_seconds{kind="webhook",quantile="0.5"}']
    assert round(delay) == 8
