"""Results over REST: waited for, in pages, and as one file; asked of a real web process."""

import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import polars as pl
import pytest
from api_process import OLDEST_VIEW_SECONDS, end_of_feed, fill, pulled
from factories import Store, failure_line, success_line
from web_process import StartWeb, Web

from storage.retention import forget_requests


def test_a_result_that_comes_while_a_client_waits_is_answered_at_once(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job)
    batch = api_store.ended()
    query: dict[str, str | int] = {"after": end_of_feed(api_web), "wait": 30, "job": job}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(api_web.client.get, "/api/results", params=query, timeout=40)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        api_store.answer_all(batch)
        answer = waiting.result(20)
    assert pulled(answer) == [f"{job}-0", f"{job}-1"]
    again = query | {"after": answer.headers["X-Obm-Next-Cursor"], "wait": 0}
    assert pulled(api_web.client.get("/api/results", params=again)) == []


def test_waiting_for_nothing_ends_with_the_cursor_that_was_given(
    api_web: Web, api_store: Store, job: str
) -> None:
    cursor = end_of_feed(api_web)
    fill(api_store, job)
    api_store.answer_all(api_store.ended())
    query: dict[str, str | float] = {"after": cursor, "wait": 1.5, "job": f"not-{job}"}
    answer = api_web.client.get("/api/results", params=query)
    assert pulled(answer) == []
    assert answer.headers["X-Obm-Next-Cursor"] == cursor
    first = api_web.client.get("/api/results", params={"after": cursor, "limit": 1})
    assert pulled(first) == [f"{job}-0"]


def test_many_clients_that_wait_are_all_answered(api_web: Web, api_store: Store, job: str) -> None:
    fill(api_store, job)
    batch = api_store.ended()
    query: dict[str, str | int] = {"after": end_of_feed(api_web), "wait": 30, "limit": 1}

    def wait(_number: int) -> httpx.Response:
        return httpx.get(f"{api_web.url}/api/results", params=query, timeout=40)

    with ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(wait, number) for number in range(20)]
        with pytest.raises(TimeoutError):
            waiting[0].result(0.5)
        api_store.answer_all(batch)
        assert [pulled(each.result(20)) for each in waiting] == [[f"{job}-0"]] * 20


def test_waiting_ends_when_the_server_stops(start_web: StartWeb) -> None:
    web = start_web()
    with ThreadPoolExecutor(1) as threads:
        waiting: Future[httpx.Response] = threads.submit(
            httpx.get, f"{web.url}/api/results", params={"wait": 60}, timeout=70
        )
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        assert web.stop(signal.SIGTERM) == 0
        assert pulled(waiting.result(5)) == []


def test_a_cursor_goes_on_behind_results_that_are_forgotten(
    api_web: Web, api_store: Store, job: str
) -> None:
    before = end_of_feed(api_web)
    fill(api_store, job)
    api_store.answer_all(api_store.ended())
    api_store.deliver()
    behind = end_of_feed(api_web)
    api_store.run("UPDATE jobs SET completed_at = TIMESTAMP '2020-01-01' WHERE name = ?", job)
    api_store.run("UPDATE results SET recorded_at = TIMESTAMP '2020-01-01'")
    assert forget_requests(api_store.ledger, keep_days=30) == 2
    fill(api_store, f"{job}-new", 1)
    api_store.answer_all(api_store.ended())
    time.sleep(OLDEST_VIEW_SECONDS)
    for cursor in (before, behind):
        answer = api_web.client.get("/api/results", params={"after": cursor})
        assert pulled(answer) == [f"{job}-new-0"]


def test_a_job_is_a_parquet_file_in_input_order(api_web: Web, api_store: Store, job: str) -> None:
    fill(api_store, job, 3)
    batch = api_store.ended()
    wires = api_store.wire_ids(batch)
    answers = [success_line(wires[2], content="grün"), success_line(wires[0])]
    api_store.collect(batch, answers, [failure_line(wires[1])])
    api_store.deliver()
    time.sleep(OLDEST_VIEW_SECONDS)
    path = f"/api/jobs/{job}/results"
    answer = api_web.client.get(path, params={"format": "parquet"})
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    (part,) = (api_store.directory.outbox / job).glob("parts/*.parquet")
    table, kept = pl.read_parquet(answer.content), pl.read_parquet(part)
    assert table["custom_id"].to_list() == [f"{job}-{number}" for number in range(3)]
    assert table["content"].to_list() == ["fine", None, "grün"]
    assert table.sort("custom_id").equals(kept.sort("custom_id"))
    lines = api_web.client.get(path, params={"format": "ndjson"}).text.splitlines()
    assert table["line"].to_list() == lines == api_web.client.get(path).text.splitlines()


def test_a_job_without_results_is_an_empty_file_of_either_format(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job)
    time.sleep(OLDEST_VIEW_SECONDS)
    answer = api_web.client.get(f"/api/jobs/{job}/results?format=parquet")
    assert pl.read_parquet(answer.content).height == 0
    assert api_web.client.get(f"/api/jobs/{job}/results").text == ""
    assert api_web.client.get(f"/api/jobs/{job}/results?format=csv").status_code == 422
    assert api_web.client.get("/api/jobs/nobody/results?format=parquet").status_code == 404


def test_a_result_file_that_is_gone_is_told_before_the_answer_begins(
    api_web: Web, api_store: Store, job: str
) -> None:
    fill(api_store, job)
    batch = api_store.ended()
    api_store.answer_all(batch)
    (api_store.directory.results / f"{batch.batch_id:06d}.parquet").unlink()
    time.sleep(OLDEST_VIEW_SECONDS)
    for kind in ("ndjson", "parquet"):
        answer = api_web.client.get(f"/api/jobs/{job}/results", params={"format": kind})
        assert answer.status_code == 422
        assert "put it back" in answer.json()["errors"][0]["detail"]
