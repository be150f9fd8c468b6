import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from factories import MODEL, Store, chat_line, chat_lines, no_cost, policy, request_line

from batching.jobs import JobSettings
from deployments.work import Lookout
from storage.bulk_requests import retry_requests
from storage.claims import claim_next
from storage.doctor.diagnosis import examine
from storage.health import HealthFile
from storage.intake_log import IntakeLog
from storage.jobs import flush, retry_job
from storage.ledger import Ledger, now
from storage.log_files import logs_in
from storage.rebuilding.new_ledger import rebuild_ledger
from storage.received_lines import received_line
from storage.request_filter import RequestFilter
from storage.results import write_own_results_of_requests
from tasks.lookout import flows_with_work
from tasks.received import take_in_received
from tasks.resources import Resources

BEGAN = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
WEBHOOK = '{"type":"webhook","webhook_url":"https://example.com/hook"}'


def receive(
    store: Store,
    lines: Sequence[bytes],
    *,
    job: str = "default",
    role: str = "web",
    at: datetime = BEGAN,
    urgent: bool = False,
) -> Path:
    """Accept lines as a receiver does and hand them over; return the log."""
    log = IntakeLog(store.directory, role=role, seal_seconds=5, seal_bytes=1_000_000)
    log.write([received_line(job, at, line) for line in lines])
    sealed = log.seal(urgent=urgent)
    assert sealed is not None
    log.close()
    return sealed


def with_destination(custom_id: str, *, text: str) -> bytes:
    line = chat_line(custom_id, text=text)
    return line[:-1] + b',"delivery_config":' + WEBHOOK.encode() + b"}"


def jobs(store: Store) -> dict[str, int]:
    rows = store.rows(
        "SELECT name, count(*) AS n FROM requests JOIN jobs USING (job_id) GROUP BY name"
    )
    return {row["name"]: row["n"] for row in rows}


def test_all_waiting_logs_become_one_segment_and_are_deleted(store: Store) -> None:
    for number in range(3):
        receive(store, chat_lines(2, prefix=f"log{number}"), role="web" if number else "consumer")

    taken = take_in_received.fn()

    assert (taken.logs, taken.accepted, taken.rejected, taken.repeated) == (3, 6, 0, 0)
    assert store.states() == {"pending": 6}
    assert store.value("SELECT count(*) FROM segments") == 1
    assert store.value("SELECT sum(accepted) FROM sources WHERE outcome = 'taken_in'") == 6
    assert list(store.directory.inbox.iterdir()) == []
    assert list(store.directory.receiving.iterdir()) == []


def test_nothing_waiting_is_nothing_to_do(store: Store) -> None:
    assert take_in_received.fn().logs == 0
    assert store.value("SELECT count(*) FROM sources") == 0


def test_a_request_was_accepted_when_its_line_was_received(store: Store) -> None:
    receive(store, [chat_line("a")], at=BEGAN)
    receive(store, [chat_line("b")], at=BEGAN + timedelta(hours=1))

    take_in_received.fn()

    rows = store.rows("SELECT custom_id, accepted_at FROM requests ORDER BY custom_id")
    assert [row["accepted_at"] for row in rows] == [BEGAN, BEGAN + timedelta(hours=1)]


def test_lines_of_several_jobs_share_a_segment_and_find_their_jobs(store: Store) -> None:
    labelled = store.take_in(
        [chat_line("file")], name="drop", settings=JobSettings(label="nightly")
    )
    store.run("UPDATE jobs SET completed_at = now() WHERE job_id = ?", labelled)
    log = IntakeLog(store.directory, role="web", seal_seconds=5, seal_bytes=1_000_000)
    wanted = ["default", "nightly", "new one", "default"]
    log.write(
        [received_line(job, BEGAN, chat_line(f"id-{number}")) for number, job in enumerate(wanted)]
    )
    log.close()

    take_in_received.fn()

    assert jobs(store) == {"default": 2, "nightly": 2, "new one": 1}
    rows = {row["name"]: row for row in store.rows("SELECT * FROM jobs")}
    assert rows["default"]["endless"]
    assert rows["new one"]["label"] == "new one"
    assert rows["nightly"]["completed_at"] is None


def test_a_label_does_not_join_the_job_of_a_file_that_only_has_its_name(store: Store) -> None:
    store.take_in([chat_line("same")], name="nightly")

    receive(store, [chat_line("same", text="another")], job="nightly")
    take_in_received.fn()

    assert jobs(store) == {"nightly": 1, "nightly-2": 1}
    assert store.states() == {"pending": 2}


def test_a_replay_is_left_out_and_counted(store: Store) -> None:
    receive(store, [chat_line("a"), chat_line("b")])
    take_in_received.fn()
    receive(store, [chat_line("c"), chat_line("a"), chat_line("c")])
    receive(store, [chat_line("b"), chat_line("d")])

    taken = take_in_received.fn()

    assert (taken.accepted, taken.repeated, taken.conflicts) == (2, 3, 0)
    assert store.states() == {"pending": 4}
    rows = store.rows("SELECT accepted, repeated FROM sources ORDER BY source_id")
    assert [(row["accepted"], row["repeated"]) for row in rows] == [(2, 0), (1, 2), (1, 1)]


def test_only_replays_leave_a_completed_job_completed(store: Store) -> None:
    receive(store, [chat_line("a")], job="weekly")
    take_in_received.fn()
    store.run("UPDATE jobs SET completed_at = now()")

    receive(store, [chat_line("a")], job="weekly")
    take_in_received.fn()

    assert store.value("SELECT completed_at FROM jobs") is not None


def test_another_payload_under_a_known_id_fails_with_a_result_for_its_own_destination(
    store: Store,
) -> None:
    receive(store, [chat_line("a", text="first")])
    take_in_received.fn()
    receive(store, [with_destination("a", text="second"), chat_line("b")])

    taken = take_in_received.fn()

    assert (taken.accepted, taken.conflicts) == (2, 1)
    assert store.states() == {"failed": 1, "pending": 2}
    failed = store.rows("SELECT * FROM requests WHERE state = 'failed'")[0]
    assert failed["error_code"] == "obm_duplicate_custom_id"
    assert failed["finished_at"] is not None
    assert write_own_results_of_requests(store.ledger) == 1
    delivery = store.rows(
        "SELECT kind, deliveries.state FROM deliveries JOIN destinations USING (destination_id)"
    )
    assert [(row["kind"], row["state"]) for row in delivery] == [("webhook", "pending")]


def test_a_conflict_sent_again_is_a_replay(store: Store) -> None:
    receive(store, [chat_line("a", text="first"), chat_line("a", text="second")])
    take_in_received.fn()
    assert store.states() == {"failed": 1, "pending": 1}

    receive(store, [chat_line("a", text="second"), chat_line("a", text="first")])
    taken = take_in_received.fn()

    assert (taken.accepted, taken.repeated) == (0, 2)
    assert store.states() == {"failed": 1, "pending": 1}


def test_the_same_id_in_two_jobs_is_no_repeat(store: Store) -> None:
    receive(store, [chat_line("a", text="one")])
    receive(store, [chat_line("a", text="two")], job="other")

    assert take_in_received.fn().accepted == 2
    assert store.states() == {"pending": 2}


def test_a_line_that_cannot_be_read_is_rejected_with_its_reason_and_the_others_go_on(
    store: Store,
) -> None:
    good, torn = received_line("default", BEGAN, chat_line("a")), b"0123\t1\t"
    bad = received_line("default", BEGAN, b'{"nothing":"to tell whose it is"}')
    path = receive(store, [chat_line("c")])
    path.write_bytes(good + torn + b"\n" + bad + path.read_bytes())

    taken = take_in_received.fn()

    assert (taken.accepted, taken.rejected) == (2, 2)
    [rejected] = store.directory.rejected.iterdir()
    records = [json.loads(line) for line in rejected.read_bytes().splitlines()]
    assert [record["line"] for record in records] == [2, 3]
    assert "checksum" in records[0]["reason"]
    assert store.rows("SELECT rejected, end_line FROM sources") == [{"rejected": 2, "end_line": 4}]


OUTDATED = {
    "unknown url": request_line("a", "/v1/unknown", b'{"model":"m"}'),
    "unknown key": chat_line("a")[:-1] + b',"priority":7}',
    "no json": b'{"custom_id":"a","method":"POST",',
    "not UTF-8": b'{"custom_id":"a","note":"\xff"}',
    "half of a surrogate pair": chat_line("a", text="\ud800"),
    "a number": b'{"custom_id":7}',
    "its destination": chat_line("a")[:-1] + b',"delivery_config":{"type":"pigeon"}}',
}


@pytest.mark.parametrize("line", OUTDATED.values(), ids=OUTDATED)
def test_what_was_accepted_and_is_no_longer_valid_fails_with_a_result_that_says_why(
    store: Store, line: bytes
) -> None:
    receive(store, [chat_line("good"), line], at=now())

    taken = take_in_received.fn()

    assert (taken.accepted, taken.rejected) == (2, 0)
    assert store.states() == {"failed": 1, "pending": 1}
    assert write_own_results_of_requests(store.ledger) == 1
    store.deliver()
    [results] = store.directory.outbox.rglob("*.jsonl")
    [told] = [json.loads(line) for line in results.read_bytes().splitlines()]
    assert told["custom_id"] == ("7" if b":7}" in line[:20] else "a")
    assert told["error"]["code"] == "obm_no_longer_valid"
    assert "The reason: " in told["error"]["message"]
    [segment] = store.directory.segments.glob("*.parquet")
    assert line in pl.read_parquet(segment)["body"].to_list()
    assert store.claim().requests == 1


def test_what_is_no_longer_valid_goes_where_its_line_says_and_is_not_sent_again(
    store: Store,
) -> None:
    line = with_destination("a", text="fine").replace(b'"POST"', b'"GET"')
    receive(store, [line])
    take_in_received.fn()
    assert write_own_results_of_requests(store.ledger) == 1

    delivery = store.rows("SELECT kind FROM deliveries JOIN destinations USING (destination_id)")
    assert [row["kind"] for row in delivery] == ["webhook"]
    assert retry_job(store.ledger, "default", cancelled_too=True, actor="test") == 0
    assert retry_requests(store.ledger, RequestFilter(), actor="test").changed == 0
    assert examine(store.directory, patience_seconds=0).findings == ()
    rebuild_ledger(
        store.directory, force=True, account=store.account, cost_of=no_cost,
        memory_bytes=1_000_000_000,
    )  # fmt: skip
    assert Store(store.directory, Ledger.open(store.directory)).states() == {"failed": 1}


def test_a_rebuilt_ledger_does_not_send_what_is_no_longer_valid(store: Store) -> None:
    receive(store, [b'{"custom_id":"a"}', chat_line("b")])
    take_in_received.fn()

    rebuild_ledger(
        store.directory, force=True, account=store.account, cost_of=no_cost,
        memory_bytes=1_000_000_000,
    )  # fmt: skip

    rebuilt = Store(store.directory, Ledger.open(store.directory))
    assert rebuilt.states() == {"failed": 1, "pending": 1}
    assert rebuilt.value("SELECT error_code FROM requests WHERE state = 'failed'") == (
        "obm_no_longer_valid"
    )
    assert write_own_results_of_requests(rebuilt.ledger) == 1


def test_a_named_destination_that_has_gone_keeps_its_request_accepted(store: Store) -> None:
    line = chat_line("a")[:-1] + b',"delivery_config":{"type":"named","name":"gone"}}'
    receive(store, [line])

    assert take_in_received.fn().accepted == 1


def test_what_lies_behind_the_recorded_end_of_a_log_is_not_taken_in(store: Store) -> None:
    path = receive(store, [chat_line("a")])
    end = path.stat().st_size
    with path.open("ab") as file:
        file.write(received_line("default", BEGAN, chat_line("never acknowledged")))
    path.rename(path.with_name(path.name.replace(".obmlog", f".upto-{end}.obmlog")))

    assert take_in_received.fn().accepted == 1


def test_a_log_recorded_but_not_deleted_is_not_taken_in_twice(store: Store) -> None:
    path = receive(store, chat_lines(3))
    copy = path.parent.parent / "kept"
    shutil.copy(path, copy)
    take_in_received.fn()
    shutil.move(copy, path)  # as if the crash had come before the deletion

    assert take_in_received.fn().logs == 0
    assert store.states() == {"pending": 3}
    assert logs_in(store.directory.inbox) == []


def test_segments_that_were_never_recorded_are_written_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, chat_lines(3))

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.received.record_logs", crash)
        with pytest.raises(KeyboardInterrupt):
            take_in_received.fn()
    assert len(list(store.directory.segments.iterdir())) == 1
    receive(store, chat_lines(2, prefix="later"))

    taken = take_in_received.fn()

    assert (taken.logs, taken.accepted) == (2, 5)
    assert store.states() == {"pending": 5}
    recorded = {row["segment"] for row in store.rows("SELECT segment FROM segments")}
    assert {int(path.stem) for path in store.directory.segments.iterdir()} == recorded


def test_many_logs_are_taken_in_in_several_passes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.log_intake.MOST_BYTES_A_PASS", 1)
    for number in range(3):
        receive(store, chat_lines(2, prefix=f"log{number}"))

    assert take_in_received.fn().accepted == 6
    assert store.value("SELECT count(*) FROM segments") == 3


def test_an_abandoned_log_is_taken_in_without_its_torn_last_line(
    resources: Resources, store: Store
) -> None:
    path = receive(store, [chat_line("a")])
    path = path.rename(store.directory.receiving / path.name)
    with path.open("ab") as file:
        file.write(received_line("default", BEGAN, chat_line("torn"))[:-20])

    assert "ingest" in flows_with_work(resources, nudging=True)
    taken = take_in_received.fn()

    assert (taken.accepted, taken.rejected) == (1, 0)
    assert "ingest" not in flows_with_work(resources)


def test_the_log_of_a_living_receiver_stays_its_own(resources: Resources, store: Store) -> None:
    log = IntakeLog(store.directory, role="web", seal_seconds=5, seal_bytes=1_000_000)
    log.write([received_line("default", BEGAN, chat_line("a"))])

    assert "ingest" not in flows_with_work(resources)
    assert take_in_received.fn().accepted == 0
    log.close()
    assert take_in_received.fn().accepted == 1


def test_a_scheduled_run_takes_any_log_and_a_nudge_waits_until_it_is_worth_it(
    resources: Resources, store: Store
) -> None:
    receive(store, [chat_line("a")])

    assert "ingest" in flows_with_work(resources)
    assert "ingest" not in flows_with_work(resources, nudging=True)

    receive(store, [chat_line("b")], urgent=True)
    assert "ingest" in flows_with_work(resources, nudging=True)


def test_logs_that_are_large_together_are_worth_a_nudge(resources: Resources, store: Store) -> None:
    for _ in range(2):
        path = receive(store, [chat_line("a")])
        os.truncate(path, 17_000_000)

    assert "ingest" in flows_with_work(resources, nudging=True)


def test_an_old_log_is_worth_a_nudge(resources: Resources, store: Store) -> None:
    receive(store, [chat_line("a")])
    resources.settings = resources.settings.model_copy(update={"interval_ingest_seconds": 0.0})

    assert "ingest" in flows_with_work(resources, nudging=True)


def test_requests_of_receivers_can_be_claimed_for_a_batch(store: Store) -> None:
    receive(store, chat_lines(3), at=now())
    take_in_received.fn()

    batch = store.claim()

    assert (batch.requests, batch.model) == (3, MODEL)
    assert len(store.write_input(batch).read_bytes().splitlines()) == 3


@pytest.mark.parametrize(("flushed_first", "pending"), [(False, 0), (True, 2)])
def test_a_flush_of_all_counts_for_the_first_requests_of_a_job(
    store: Store, *, flushed_first: bool, pending: int
) -> None:
    if flushed_first:
        flush(store.ledger, None, actor="test")
        receive(store, chat_lines(2), at=now())
    else:
        receive(store, chat_lines(2), at=now())
        flush(store.ledger, None, actor="test")
    take_in_received.fn()

    claim_next(store.ledger, policy(account=store.account, close_at_once=False))
    assert store.states().get("pending", 0) == pending


def test_a_young_log_does_not_wake_the_pipeline_and_an_urgent_one_does(
    resources: Resources, store: Store
) -> None:
    lookout = Lookout(resources, HealthFile(resources.directory.health, "pipeline"))
    receive(store, [chat_line("a")])
    assert "ingest" not in lookout.busy_flows()

    receive(store, [chat_line("b")], urgent=True)
    assert "ingest" in lookout.busy_flows()
