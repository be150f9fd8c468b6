import json
from typing import Any

import pytest
from factories import (
    Store,
    chat_line,
    chat_lines,
    embedding_line,
    failure_line,
    success_line,
)

from batching.jobs import JobSettings
from batching.planning import BatchLimits
from storage import completion, result_streams
from storage.completion import complete_job, jobs_to_complete
from storage.jobs import cancel_job, retry_job
from storage.results import write_own_results_of_requests

NIGHTLY = JobSettings(label="nightly")


def ready(store: Store) -> list[str]:
    with store.ledger.transaction() as reader:
        return [job["name"] for job in jobs_to_complete(reader)]


def complete(store: Store) -> None:
    with store.ledger.transaction() as reader:
        (job,) = jobs_to_complete(reader)
    assert complete_job(store.ledger, job_id=job["job_id"], slug=job["slug"])


def summary(store: Store, slug: str = "job") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.outbox_text(f"{slug}/summary.json"))
    return found


def finish_all(store: Store, **changes: Any) -> None:
    """Claim, answer and deliver until nothing is pending."""
    while store.states().get("pending"):
        store.answer_all(store.ended(**changes))
    store.deliver()


def test_a_job_is_complete_when_everything_is_answered_and_delivered(store: Store) -> None:
    store.take_in(chat_lines(2))
    assert ready(store) == []
    batch = store.ended()
    assert ready(store) == []
    store.answer_all(batch)
    assert ready(store) == []
    store.deliver()
    assert ready(store) == ["job"]
    complete(store)
    assert ready(store) == []
    assert store.value("SELECT completed_at FROM jobs") is not None


def test_a_request_without_a_result_yet_keeps_its_job_open(store: Store) -> None:
    store.take_in(chat_lines(2))
    cancel_job(store.ledger, "job", actor="test")
    assert ready(store) == []
    write_own_results_of_requests(store.ledger)
    store.deliver()
    assert ready(store) == ["job"]


def test_the_sorted_file_has_every_line_in_input_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_streams, "WINDOW_BYTES", 900)
    lines = [
        chat_line(f"id-{number}", model=f"m{number % 2}")
        if number % 3
        else embedding_line(f"id-{number}")
        for number in range(30)
    ]
    store.take_in(lines, rows_a_segment=8)
    limits = BatchLimits(requests=7, bytes=10**8, embedding_inputs=50)
    finish_all(store, limits=limits)
    assert store.outbox_ids("job/results.jsonl") != [f"id-{n}" for n in range(30)]
    complete(store)
    assert store.outbox_ids("job/results.sorted.jsonl") == [f"id-{n}" for n in range(30)]
    assert sorted(store.outbox("job/results.sorted.jsonl")) == sorted(
        store.outbox("job/results.jsonl")
    )


def test_the_summary_counts_what_became_of_the_requests(store: Store) -> None:
    store.take_in(chat_lines(4))
    batch = store.ended()
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wires[0], tokens=7), success_line(wires[1], tokens=8)],
                  [failure_line(wires[2])])  # fmt: skip
    cancel_job(store.ledger, "job", actor="test")
    write_own_results_of_requests(store.ledger)
    store.deliver()
    complete(store)
    found = summary(store)
    assert found["job"] == "job"
    assert found["requests"] == {"cancelled": 1, "failed": 1, "succeeded": 2}
    assert found["sources"] == [{"name": "job", "accepted": 4, "rejected": 0, "repeated": 0}]
    (usage,) = found["usage"]
    assert (usage["model"], usage["requests"]) == ("gpt-4o-mini", 4)
    assert (usage["input_tokens"], usage["output_tokens"]) == (15, 10)
    assert {(error["code"], error["requests"]) for error in found["errors"]} == {
        ("invalid_value", 1),
        ("obm_cancelled", 1),
    }


def test_a_further_source_reopens_the_job_and_its_files_are_written_anew(store: Store) -> None:
    store.take_in(chat_lines(2, prefix="a"), settings=NIGHTLY, source_id="s1")
    finish_all(store)
    complete(store)
    store.take_in(chat_lines(2, prefix="b"), settings=NIGHTLY, source_id="s2")
    assert ready(store) == []
    finish_all(store)
    complete(store)
    assert store.outbox_ids("nightly/results.sorted.jsonl") == ["a-0", "a-1", "b-0", "b-1"]
    assert summary(store, "nightly")["requests"] == {"succeeded": 4}
    assert len(summary(store, "nightly")["sources"]) == 2


def test_a_source_that_comes_in_meanwhile_keeps_the_job_open(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = store.take_in(chat_lines(2, prefix="a"), settings=NIGHTLY, source_id="s1")
    finish_all(store)
    summed_up = completion._summary

    def another_source(*arguments: Any) -> dict[str, Any]:
        store.take_in(chat_lines(2, prefix="b"), settings=NIGHTLY, source_id="s2")
        return summed_up(*arguments)

    monkeypatch.setattr(completion, "_summary", another_source)
    assert not complete_job(store.ledger, job_id=job_id, slug="nightly")
    monkeypatch.undo()
    assert store.value("SELECT completed_at FROM jobs") is None
    finish_all(store)
    complete(store)
    assert len(store.outbox("nightly/results.sorted.jsonl")) == 4


def test_a_request_that_comes_in_while_results_are_sorted_is_no_trouble(store: Store) -> None:
    job_id = store.take_in(chat_lines(2, prefix="a"), settings=NIGHTLY, source_id="s1")
    finish_all(store)
    store.take_in(chat_lines(2, prefix="b"), settings=NIGHTLY, source_id="s2")
    assert not complete_job(store.ledger, job_id=job_id, slug="nightly")
    assert store.value("SELECT completed_at FROM jobs") is None


def test_a_job_without_any_accepted_request_is_completed_too(store: Store) -> None:
    store.take_in([], name="empty")
    complete(store)
    assert store.outbox("empty/results.sorted.jsonl") == []
    assert summary(store, "empty")["requests"] == {}


def test_completing_again_after_a_crash_writes_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take_in(chat_lines(3))
    finish_all(store)
    monkeypatch.setattr(completion, "write_durably", None)
    with pytest.raises(TypeError):
        complete(store)
    monkeypatch.undo()
    first = store.outbox("job/results.sorted.jsonl")
    assert ready(store) == ["job"]
    complete(store)
    assert store.outbox("job/results.sorted.jsonl") == first
    moves = store.rows("SELECT target FROM transitions WHERE entity = 'job'")
    assert [move["target"] for move in moves] == ["open", "completed"]


def test_a_retried_request_has_its_newest_result_in_the_sorted_file(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wires[1])], [failure_line(wires[0])])
    store.deliver()
    complete(store)
    assert retry_job(store.ledger, "job", cancelled_too=False, actor="test") == 1
    finish_all(store)
    complete(store)
    lines = [json.loads(line) for line in store.outbox("job/results.sorted.jsonl")]
    assert [line["custom_id"] for line in lines] == ["id-0", "id-1"]
    assert [line["response"]["status_code"] for line in lines] == [200, 200]
    assert store.outbox_ids("job/results.jsonl") == ["id-0", "id-1", "id-0"]


def test_the_job_that_never_ends_is_never_completed(store: Store) -> None:
    store.take_in(chat_lines(1))
    store.run("UPDATE jobs SET endless = true")
    finish_all(store)
    assert ready(store) == []


def test_a_job_of_which_all_is_pushed_gets_no_folder(store: Store) -> None:
    job_id = store.take_in(chat_lines(2))
    store.run("INSERT INTO destinations VALUES (1, 'c', 'webhook', 't', now(), NULL, NULL)")
    store.run("UPDATE requests SET destination_id = 1")
    store.answer_all(store.ended())
    assert store.value("SELECT count(*) FROM parts") == 0
    assert store.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 2
    with store.ledger.transaction() as reader:
        assert not jobs_to_complete(reader)
    store.run("UPDATE deliveries SET state = 'delivered'")
    assert complete_job(store.ledger, job_id=job_id, slug="job")
    assert not (store.directory.outbox / "job").exists()


def test_files_of_a_job_hold_only_what_goes_to_files(store: Store) -> None:
    job_id = store.take_in(chat_lines(3))
    store.run("INSERT INTO destinations VALUES (1, 'c', 'webhook', 't', now(), NULL, NULL)")
    store.run("UPDATE requests SET destination_id = 1 WHERE row_index = 1")
    store.answer_all(store.ended())
    store.deliver()
    store.run("UPDATE deliveries SET state = 'delivered'")
    assert complete_job(store.ledger, job_id=job_id, slug="job")
    for name in ("results.jsonl", "results.sorted.jsonl"):
        text = (store.directory.outbox / "job" / name).read_text()
        assert "id-0" in text
        assert "id-1" not in text
