"""What operators do over REST, asked of a real web process over a ledger that lives."""

from uuid import uuid4

import pytest
from api_process import acted, fill, shown
from factories import RULES, Store
from web_process import StartWeb, Web, request_line

from storage.batch_files import remove_batch_files
from storage.ledger import Ledger
from storage.log_files import logs_in
from storage.log_intake import take_in_logs
from storage.log_recording import record_logs

HOOK = {"type": "webhook", "webhook_url": "https://example.com/in"}


def test_an_accepted_request_is_staged_until_the_pipeline_has_it(api_web: Web) -> None:
    custom_id = uuid4().hex
    assert api_web.client.post("/api/requests", json=request_line(custom_id)).status_code == 202
    found = shown(api_web, f"/api/requests/{custom_id}")
    assert (found["state"], found["result"], found["job"]) == ("staged", None, "default")
    assert api_web.client.get(f"/api/requests/{custom_id}?job=other").status_code == 404


def test_a_flush_takes_what_was_just_received_along(start_web: StartWeb) -> None:
    web = start_web(OBM_SEAL_SECONDS=3600)
    web.client.post("/api/requests", json=request_line("a"))
    assert acted(web, "/api/flush")["job"] is None
    logs = logs_in(web.directory.inbox)
    assert [log.is_urgent for log in logs] == [True]
    store = Store(web.directory, Ledger.open(web.directory))
    taken = take_in_logs(web.directory, logs, rules=RULES, first_segment=1)
    record_logs(store.ledger, taken, account=store.account)
    assert store.claim(close_at_once=False).requests == 1


def test_a_job_is_paused_resumed_flushed_and_cancelled(
    api_web: Web, api_store: Store, job: str
) -> None:
    ids = fill(api_store, job)
    acted(api_web, f"/api/jobs/{job}/pause")
    found = shown(api_web, f"/api/jobs/{job}")
    assert (found["paused"], found["pending"]) == (True, 2)
    assert shown(api_web, f"/api/requests/{ids[0]}")["wait_reason"] == "paused"
    acted(api_web, f"/api/jobs/{job}/resume")
    assert acted(api_web, f"/api/jobs/{job}/flush") == {"job": job, "requests": 2, "later": 0}
    assert api_store.claim(close_at_once=False).requests == 2
    other = f"{job}-2"
    fill(api_store, other, 1)
    assert acted(api_web, f"/api/jobs/{job}/cancel") == {"job": job, "requests": 2, "later": 2}
    cancelled = acted(api_web, f"/api/jobs/{other}/cancel")
    assert cancelled == {"job": other, "requests": 1, "later": 0}
    found = shown(api_web, f"/api/jobs/{other}")
    assert (found["paused"], found["cancelled"]) == (False, 1)
    actors = api_store.rows("SELECT actor FROM transitions WHERE entity_id = ?", other)
    assert "api:local" in {row["actor"] for row in actors}


@pytest.mark.parametrize(
    "path",
    [
        "jobs/nobody/pause", "jobs/nobody/resume", "jobs/nobody/flush", "jobs/nobody/cancel",
        "jobs/nobody/redeliver", "jobs/nobody/redeliver-failed", "flush?job=nobody",
        "batches/4711/upload", "batches/4711/cancel", "batches/4711/restart",
        "batches/4711/redeliver", "batches/4711/redeliver-failed",
        "requests/nobody/cancel", "requests/nobody/redeliver", "deliveries/4711/cancel",
        "destinations/4711/enable",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("api_store")
def test_what_is_not_there_cannot_be_acted_on(api_web: Web, path: str) -> None:
    problem = acted(api_web, f"/api/{path}", 404)["errors"][0]
    assert problem["code"] == "not_found"
    assert "nobody" in problem["detail"] or "4711" in problem["detail"]


def test_everything_is_not_brought_again_by_leaving_the_choice_out(api_web: Web) -> None:
    answer = api_web.client.post("/api/deliveries/redeliver", json={})
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["code"]) == (422, "nothing_chosen")
    assert "job, batch, target" in problem["detail"]


@pytest.mark.parametrize("chosen", [{"job": "nobody"}, {"batch": 4711}])
def test_a_choice_for_redelivery_names_what_there_is(
    api_web: Web, api_store: Store, chosen: dict[str, object]
) -> None:
    count = "SELECT count(*) FROM transitions WHERE target = 'redelivered'"
    before = api_store.value(count)
    answer = api_web.client.post("/api/deliveries/redeliver", json=chosen)
    assert (answer.status_code, api_store.value(count)) == (404, before)


def test_a_failed_batch_is_sent_again_and_only_once(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job)
    batch = api_store.ended(status="failed")
    api_store.run("UPDATE batches SET state = 'failed' WHERE batch_id = ?", batch.batch_id)
    api_store.run(
        "UPDATE requests SET state = 'failed', error_code = 'obm_batch_refused', result_id = -9, "
        "finished_at = now()::TIMESTAMP WHERE batch_id = ?",
        batch.batch_id,
    )
    path = f"/api/batches/{batch.batch_id}/restart"
    assert acted(api_web, f"{path}?reason=mended") == {"state": "failed", "requests": 2}
    assert "failed with it" in acted(api_web, path, 409)["errors"][0]["detail"]
    assert api_store.claim().requests == 2
    why = api_store.value("SELECT reason FROM transitions WHERE target = 'restarted'")
    assert why.endswith(": mended")


def test_what_waits_in_the_lane_of_a_batch_is_sent(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job)
    batch = api_store.claim()
    path = f"/api/batches/{batch.batch_id}/upload"
    assert "nothing waits" in acted(api_web, path, 409)["errors"][0]["detail"]
    fill(api_store, f"{job}-2", 3)
    assert acted(api_web, path) == {"state": "planned", "requests": 3}
    assert api_store.claim(close_at_once=False).requests == 3


def test_files_of_a_batch_are_read_until_they_are_deleted(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job)
    batch = api_store.claim()
    api_store.write_input(batch)
    api_store.answer_all(api_store.ended_of(batch))
    files = f"/api/batches/{batch.batch_id}/files"
    answer = api_web.client.get(f"{files}/output")
    assert (answer.status_code, len(answer.text.splitlines())) == (200, 2)
    assert api_web.client.get(f"{files}/error").status_code == 404
    remove_batch_files(api_store.directory, batch.batch_id)
    for kind in ("input", "output", "error"):
        answer = api_web.client.get(f"{files}/{kind}")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "not_found")
    assert api_web.client.get(f"{files}/else").status_code == 422
    assert api_web.client.delete(f"/api/batches/{batch.batch_id}").status_code == 200


def test_results_are_brought_again_by_job_and_by_batch(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job, 3, config=HOOK)
    batch = api_store.ended()
    api_store.answer_all(batch)
    api_store.run(
        "UPDATE deliveries SET state = CASE row_index WHEN 0 THEN 'exhausted' ELSE 'delivered' END "
        "WHERE result_id = ?",
        batch.batch_id,
    )
    assert acted(api_web, f"/api/jobs/{job}/redeliver-failed") == {"deliveries": 1}
    of_batch = f"/api/batches/{batch.batch_id}"
    assert acted(api_web, f"{of_batch}/redeliver-failed") == {"deliveries": 0}
    assert acted(api_web, f"{of_batch}/redeliver") == {"deliveries": 2}
    assert acted(api_web, f"/api/jobs/{job}/redeliver") == {"deliveries": 0}
