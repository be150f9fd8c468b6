"""What a sceptical reader of the pipeline found: each was once a way to lose, pay or hang."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from factories import Store, chat_lines, rates, success_line, token_limit

from batching.errors import BadInput, DiskFull, StopRequested
from batching.lifecycle import BatchState
from batching.line_faults import Refusal, RefusalCode
from batching.planning import BatchLimits
from batching.provider import ProviderBatch
from clients.openai_batches import OpenAIBatches
from deployments.until_idle import TIMED_OUT, Cycles
from flows import submission
from storage import durable
from storage.accounts import record_trouble
from storage.batches import mark_submitting
from storage.directory import DataDirectory
from storage.endings import Ending, fail_requests
from storage.lanes import room_for
from storage.ledger import Ledger, Transaction
from storage.rejected_lines import RejectedWriter
from storage.results import write_own_results_of_requests
from storage.snapshots import snapshot
from tasks.assembly import unfinished_batches
from tasks.resources import Resources, using
from tasks.staging import take_in_source

AN_HOUR_SECONDS = 3600

Chat = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


# The ledger and its copies ------------------------------------------------------------------


def test_a_kill_while_the_ledger_is_made_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    killed_before_it_is_published = (
        "import os, sys; from pathlib import Path; from storage import ledger\n"
        "from storage.directory import DataDirectory\n"
        "ledger.publish = lambda *_: os.kill(os.getpid(), 9)\n"
        "ledger.Ledger.open(DataDirectory(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", killed_before_it_is_published, str(directory.root)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not directory.ledger.exists()

    store = Store(directory, Ledger.open(directory))
    store.take_in(chat_lines(2))
    assert store.states() == {"pending": 2}
    left = {path.name for path in directory.root.glob("ledger.*")}
    assert left == {"ledger.lock", "ledger.duckdb"}


def test_the_log_of_a_ledger_that_is_gone_does_not_meet_a_new_one(store: Store) -> None:
    log = store.directory.ledger.with_name("ledger.duckdb.wal")
    log.write_bytes(b"what was committed to the ledger that is gone")
    store.directory.ledger.unlink()
    fresh = Store(store.directory, Ledger.open(store.directory))
    assert fresh.states() == {}
    (kept,) = store.directory.backups.glob("ledger.duckdb.wal-*")
    assert kept.read_bytes().startswith(b"what was committed")


def test_a_clock_that_is_put_back_does_not_freeze_what_readers_see(store: Store) -> None:
    with snapshot(store.directory):
        pass
    for copy in store.directory.snapshots.glob("ledger.*"):
        os.utime(copy, (time.time() + AN_HOUR_SECONDS,) * 2)
    store.take_in(chat_lines(2))
    with snapshot(store.directory, max_age_seconds=0) as reader:
        assert reader.value("SELECT count(*) FROM requests") == 2


def test_copies_that_fail_leave_nothing_on_a_full_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_up(_source: Path, target: Path) -> None:
        target.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fills_up)
    for _ in range(3):
        with pytest.raises(DiskFull), snapshot(store.directory, max_age_seconds=0):
            pass
    assert [path for path in store.directory.snapshots.iterdir() if path.is_file()] == []


def test_refused_lines_that_no_longer_fit_on_the_disk_do_not_hide_why_intake_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RejectedWriter(tmp_path / "refused.jsonl")
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(writer, "_file", os.fdopen(full, "wb"))
    refusal = Refusal(code=RefusalCode.DUPLICATE_CUSTOM_ID, reason="stands there twice")
    writer.add(1, refusal, b"{}")
    writer.discard()
    assert not durable.temporary_path(writer.path).exists()


# Intake ------------------------------------------------------------------------------------


def test_lines_added_to_a_file_that_was_taken_in_are_noticed_without_another_file(
    installation: Any, chat: Chat
) -> None:
    installation.drop("log.jsonl", [chat("first")], max_wait_seconds=5)
    assert installation.run() == 0
    (archived,) = (installation.data / "staging" / "archive").glob("*__log.jsonl")
    with archived.open("ab") as still_open:
        still_open.write(chat_lines(1, prefix="late")[0] + b"\n")

    assert installation.run() == 0
    assert [line["custom_id"] for line in installation.results("log")] == ["first", "late-0"]


def test_half_a_line_that_was_added_waits_for_its_other_half(installation: Any, chat: Chat) -> None:
    installation.drop("log.jsonl", [chat("first")])
    assert installation.run() == 0
    (archived,) = (installation.data / "staging" / "archive").glob("*__log.jsonl")
    line = chat_lines(1, prefix="late")[0] + b"\n"
    with archived.open("ab", buffering=0) as still_open:
        still_open.write(line[:40])
        assert installation.run(file_stable_seconds=60) == 0
        still_open.write(line[40:])
    os.utime(archived, (time.time() - AN_HOUR_SECONDS,) * 2)

    assert installation.run(file_stable_seconds=60) == 0
    assert [line["custom_id"] for line in installation.results("log")] == ["first", "late-0"]


def test_a_run_waits_for_a_file_that_is_still_being_copied(installation: Any, chat: Chat) -> None:
    installation.drop("whole.jsonl", [chat("one")])
    part = installation.data / "staging" / "inbox" / "half.jsonl.gz"
    part.write_bytes(b"\x1f\x8b\x08\x00 the rest is on its way")
    assert installation.run(file_stable_seconds=60, timeout_seconds=3) == TIMED_OUT
    assert part.exists()
    assert installation.states == {"succeeded": 1}


def test_a_claimed_file_that_somebody_takes_away_does_not_hang_the_flow(
    installation: Any,
) -> None:
    # StopIteration out of a thread would leave whoever awaits it waiting for ever.
    resources = Resources(installation.settings)
    resources.directory.create()
    with using(resources):
        gone = take_in_source.fn("20260101T000000000-abcd")
    assert gone.accepted == 0
    assert "inbox" in (gone.problem or "")


# Runs until idle ----------------------------------------------------------------------------


def test_a_run_that_could_not_deliver_everything_does_not_end_well(
    installation: Any, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    installation.drop("job.jsonl", [chat("one")])
    in_the_way = installation.data / "outbox" / "job"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file of the user where the job's folder must be")
    assert installation.run() == TIMED_OUT
    (warning,) = [record for record in caplog.records if record.msg == "requests still wait"]
    assert "1 results of job 'job'" in warning.__dict__["reason"]


def test_a_run_beside_the_owner_of_a_flow_does_not_spin(installation: Any, chat: Chat) -> None:
    installation.drop("job.jsonl", [chat("one")])
    begun: list[str] = []
    owned_by_another_process = {
        name: lambda name=name: begun.append(name)
        for name in ("ingest", "submit", "track", "deliver")
    }
    cycles = Cycles(installation.settings, threading.Event(), timeout_seconds=2)
    assert cycles.run(owned_by_another_process) == TIMED_OUT
    assert 0 < len(begun) <= 2 / installation.settings.poll_min_seconds


# Batches and money --------------------------------------------------------------------------


def test_results_whose_output_file_shows_late_are_not_bought_again(
    installation: Any, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.simulator.set_scenarios("error_lines:every=5,status=400")
    before = installation.simulator.counters()["lines_paid"]
    shown_at = time.monotonic() + 1
    told = OpenAIBatches.retrieve

    def late(provider: OpenAIBatches, batch_id: str) -> ProviderBatch:
        answer = told(provider, batch_id)
        return answer if time.monotonic() > shown_at else replace(answer, output_file_id=None)

    monkeypatch.setattr(OpenAIBatches, "retrieve", late)
    installation.drop("job.jsonl", [chat(f"r-{number}") for number in range(20)])
    installation.run(results_grace_seconds=30)
    assert installation.states == {"succeeded": 16, "failed": 4}
    assert installation.simulator.counters()["lines_paid"] - before == 16


def test_answers_that_do_not_say_what_they_cost_use_up_the_budget_as_expected(
    store: Store,
) -> None:
    budget = {"rates_of": rates("0.001"), "max_spend_per_day_usd": Decimal(100)}
    store.take_in(chat_lines(3))
    batch = store.ended(**budget)
    expected = store.value("SELECT expected_cost_usd FROM batches")
    first, second, _missing = store.wire_ids(batch)
    unpriced = [success_line(first).replace(b'"usage"', b'"no_usage"')]
    store.collect(batch, [*unpriced, success_line(second)], cost_of=lambda *_: Decimal(0))
    assert expected > 0
    assert store.value("SELECT cost_usd FROM batches") == round(expected * 2 / 3, 6)


def test_two_creates_at_once_do_not_take_the_same_room(store: Store) -> None:
    store.take_in(chat_lines(2))
    for _ in range(2):
        one = BatchLimits(requests=1, bytes=1_000_000, embedding_inputs=1)
        store.bring_to(store.claim(limits=one), BatchState.UPLOADED)
    room_for_one = token_limit(store.value("SELECT max(tokens) FROM batches"))
    created: list[object] = []

    def create(batch_id: int) -> None:
        def may_go(reader: Transaction) -> bool:
            return room_for(reader, batch_id, token_limit_of=room_for_one)

        created.append(mark_submitting(store.ledger, batch_id, may_go=may_go))

    workers = [threading.Thread(target=create, args=(number,)) for number in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len([batch for batch in created if batch is not None]) == 1


def test_nothing_is_uploaded_while_the_account_is_stopped(installation: Any) -> None:
    resources = Resources(installation.settings)
    store = Store(resources.directory, resources.ledger, account=resources.settings.account)
    store.take_in(chat_lines(2))
    store.claim()
    with using(resources):
        assert len(unfinished_batches()) == 1
        record_trouble(resources.ledger, resources.settings.account, "the key was refused")
        assert unfinished_batches() == []


def test_a_refused_batch_does_not_repeat_a_long_reason_without_bound(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    with store.ledger.transaction() as transaction:
        ending = Ending(code="invalid", reason="long " * 10_000)
        fail_requests(transaction, batch, ending, request_code="obm_batch_refused")
    assert write_own_results_of_requests(store.ledger) == 2
    store.deliver()
    assert all(len(line) < 2_000 for line in store.outbox("job/results.jsonl"))


# One that fails does not hold up the others -------------------------------------------------


def test_a_batch_that_cannot_be_sent_does_not_hold_up_the_others(
    installation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = Resources(installation.settings)
    store = Store(resources.directory, resources.ledger, account=resources.settings.account)
    store.take_in(chat_lines(4))
    one = BatchLimits(requests=1, bytes=1_000_000, embedding_inputs=1)
    batches = deque(store.claim(limits=one) for _ in range(4))
    tried: list[int] = []

    async def send(batch_id: int) -> bool:
        tried.append(batch_id)
        if batch_id <= 2:
            raise BadInput(f"the segment of batch {batch_id} is gone")
        return True

    monkeypatch.setattr(submission, "_send", send)
    with using(resources), pytest.raises(BadInput, match="the segment of batch 1 is gone"):
        asyncio.run(submission._send_all(batches))
    assert sorted(tried) == [1, 2, 3, 4]


def test_a_stop_while_batches_are_sent_is_no_failure(
    installation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(_batch_id: int) -> bool:
        raise StopRequested("stopping")

    monkeypatch.setattr(submission, "_send", send)
    resources = Resources(installation.settings)
    store = Store(resources.directory, resources.ledger, account=resources.settings.account)
    store.take_in(chat_lines(1))
    with using(resources), pytest.raises(StopRequested):
        asyncio.run(submission._send_all(deque([store.claim()])))


def test_a_job_that_cannot_be_summed_up_does_not_hold_up_the_others(
    installation: Any, chat: Chat
) -> None:
    blocked, free = "blocked", "free"
    (installation.data / "outbox" / blocked / "summary.json").mkdir(parents=True)
    installation.drop(f"{blocked}.jsonl", [chat("one")])
    installation.drop(f"{free}.jsonl", [chat("two")])
    with pytest.raises(BadInput, match=r"job 'blocked' are delivered in results\.jsonl"):
        installation.run()
    assert (installation.data / "outbox" / free / "summary.json").is_file()
    (installation.data / "outbox" / blocked / "summary.json").rmdir()
    assert installation.run() == 0
    assert (installation.data / "outbox" / blocked / "summary.json").is_file()
