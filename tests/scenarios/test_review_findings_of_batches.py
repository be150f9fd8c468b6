"""What a sceptical reader found about batches, money and failures that spread."""

import asyncio
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from factories import Store, chat_lines, rates, success_line, token_limit
from prefect.logging import disable_run_logger

from batching.errors import BadInput, ConfigurationError, StopRequested
from batching.lifecycle import BatchState
from batching.planning import BatchLimits
from batching.provider import ProviderBatch, read_batch
from clients.openai_batches import OpenAIBatches
from flows import submission
from flows.running import each
from storage.accounts import record_trouble
from storage.batches import mark_submitting
from storage.endings import Ending, fail_requests
from storage.jobs import cancel_job
from storage.lanes import room_for
from storage.ledger import Transaction, now
from storage.result_reading import read_range
from storage.results import write_own_results_of_requests
from storage.staging import claim
from tasks.assembly import unfinished_batches
from tasks.creation import LISTED_BEFORE_INTENT, match_create
from tasks.resources import Resources, using

AN_HOUR_SECONDS = 3600

Chat = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


# Batches and money --------------------------------------------------------------------------


def test_results_whose_output_file_shows_late_are_not_bought_again(
    installation: Any, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.simulator.set_scenarios("error_lines:every=5,status=400")
    before = installation.simulator.counters()["lines_paid"]
    told = OpenAIBatches.retrieve
    completed: list[str] = []

    def late(provider: OpenAIBatches, batch_id: str) -> ProviderBatch:
        answer = told(provider, batch_id)
        if answer.status == "completed":
            completed.append(batch_id)
        return replace(answer, output_file_id=None) if len(completed) < 4 else answer

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
            return room_for(
                reader, batch_id, token_limit_of=room_for_one, longest_pause_seconds=3600
            )

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


def test_an_item_that_fails_does_not_keep_the_others_from_their_turn() -> None:
    seen: list[int] = []

    def step(item: int) -> int:
        seen.append(item)
        if item % 2:
            raise BadInput(f"item {item}")
        return item

    with disable_run_logger(), pytest.raises(BadInput, match="item 1"):
        asyncio.run(each(step, [0, 1, 2, 3]))
    assert seen == [0, 1, 2, 3]
    assert asyncio.run(each(step, [0, 2])) == [0, 2]


# Operators, and what the machine has ---------------------------------------------------------


def test_what_is_cancelled_before_its_batch_exists_is_never_bought(store: Store) -> None:
    store.take_in(chat_lines(2, prefix="keep"), name="keep", source_id="s1")
    store.take_in(chat_lines(3, prefix="drop"), name="drop", source_id="s2")
    batch = store.bring_to(store.claim(), BatchState.UPLOADED)
    assert batch.requests == 5
    cancel_job(store.ledger, "drop", actor="ann")
    assert store.states() == {"cancelled": 3, "pending": 2}
    assert store.claim().requests == 2
    assert mark_submitting(store.ledger, batch.batch_id) is None
    assert write_own_results_of_requests(store.ledger) == 3


def test_a_batch_is_found_again_though_our_clock_is_hours_ahead(store: Store) -> None:
    store.take_in(chat_lines(1))
    batch = store.bring_to(store.claim(), BatchState.SUBMITTING)
    intent_at = batch.intent_at
    assert intent_at is not None
    metadata = {"obm_installation": "cafe", "obm_batch": "1", "obm_attempt": "1"}
    hours_behind = int((intent_at - timedelta(hours=14)).timestamp())
    theirs = read_batch(
        {"id": "batch_1", "status": "validating", "created_at": hours_behind, "metadata": metadata}
    )
    found = match_create(
        [theirs], metadata=metadata, input_file_id="file-1", known=frozenset(),
        since=intent_at - LISTED_BEFORE_INTENT,
    )  # fmt: skip
    assert found == theirs


def test_a_job_is_sorted_without_reading_whole_results_where_segments_meet(
    store: Store,
) -> None:
    rows = 10_000
    frame = pl.DataFrame(
        {
            "segment": [1] * rows + [2] * rows,
            "row_index": [*range(rows), *range(rows)],
            "line": [b"x"] * (2 * rows),
        },
        schema_overrides={"segment": pl.Int32, "row_index": pl.Int32},
    )
    path = store.directory.results / "000001.parquet"
    frame.write_parquet(path, row_group_size=1_000, statistics=True)
    window = frame.slice(rows - 500, 1_000)
    assert read_range(path, window, ["segment", "row_index"]).height == 2_000


def test_an_inbox_on_another_file_system_is_explained(store: Store) -> None:
    inbox = store.directory.inbox
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(inbox)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (inbox / "job.jsonl").write_bytes(chat_lines(1)[0] + b"\n")
        with pytest.raises(ConfigurationError, match="mount the whole data directory"):
            claim(store.directory, inbox / "job.jsonl")
        assert (inbox / "job.jsonl").exists()
    finally:
        subprocess.run(["umount", "-l", str(inbox)], check=True)


def test_of_two_batches_with_our_metadata_the_one_of_our_file_is_ours() -> None:
    metadata = {"obm_installation": "cafe", "obm_batch": "7", "obm_attempt": "1"}
    before_the_restore, after_it = (
        read_batch(
            {"id": name, "status": "validating", "metadata": metadata, "input_file_id": file}
        )
        for name, file in (("batch_old", "file-old"), ("batch_new", "file-new"))
    )
    found = match_create(
        [before_the_restore, after_it], metadata=metadata, input_file_id="file-new",
        known=frozenset(), since=now(),
    )  # fmt: skip
    assert found == after_it
