import json
import random
from collections import Counter
from decimal import Decimal

import polars as pl
import pytest
from factories import (
    INSTALLATION,
    Store,
    chat_line,
    chat_lines,
    failure_line,
    not_run_line,
    success_line,
)

from batching.lifecycle import BatchState
from storage import results as results_module
from storage.batch_files import odd_lines_path
from storage.batches import batch_of
from storage.endings import Ending, fail_requests
from storage.jobs import cancel_job
from storage.result_files import result_path
from storage.results import own_results_waiting, write_own_results_of_requests


def result_rows(store: Store, result_id: int) -> pl.DataFrame:
    return pl.read_parquet(result_path(store.directory, result_id))


def test_each_request_gets_its_verdict_its_usage_and_its_line(store: Store) -> None:
    store.take_in(chat_lines(5))
    batch = store.ended()
    wires = store.wire_ids(batch)
    good = [success_line(wires[0], tokens=7), success_line(wires[3], tokens=9)]
    bad = [
        failure_line(wires[1], status=400),
        failure_line(wires[2], status=429, code="rate_limit_exceeded"),
        not_run_line(wires[4]),
    ]
    found = store.collect(batch, good, bad)
    assert (found.succeeded, found.failed, found.cancelled, found.returned) == (2, 1, 0, 2)
    rows = store.rows("SELECT * FROM requests ORDER BY row_index")
    assert [row["state"] for row in rows] == [
        "succeeded", "failed", "pending", "succeeded", "pending",
    ]  # fmt: skip
    assert [(row["attempts"], row["returns"]) for row in rows] == [
        (1, 0), (1, 0), (1, 0), (1, 0), (0, 1),
    ]  # fmt: skip
    assert [row["batch_id"] for row in rows] == [1, 1, None, 1, None]
    assert [row["input_tokens"] for row in rows] == [7, None, None, 9, None]
    assert [row["status_code"] for row in rows] == [200, 400, 429, 200, None]
    assert [row["finished_at"] is None for row in rows] == [False, False, True, False, True]
    kept = result_rows(store, 1)
    assert kept["custom_id"].to_list() == ["id-0", "id-1", "id-3"]
    assert kept["line"].to_list() == [good[0], bad[0], good[1]]
    assert kept["status"].to_list() == ["succeeded", "failed", "succeeded"]
    assert batch_of(store.ledger, 1).state is BatchState.COLLECTED


def test_a_batch_sums_up_its_usage_and_cost(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.ended()
    seen: list[tuple[str, int]] = []

    def cost_of(model: str, usage: pl.DataFrame) -> Decimal:
        seen.append((model, usage.height))
        return Decimal("0.25")

    wires = store.wire_ids(batch)
    lines = [success_line(wires[0], tokens=7), success_line(wires[1], tokens=8)]
    store.collect(batch, lines, [failure_line(wires[2])], cost_of=cost_of)
    (row,) = store.rows("SELECT input_tokens, output_tokens, cost_usd FROM batches")
    assert tuple(row.values()) == (15, 10, Decimal("0.25"))
    assert seen == [("gpt-4o-mini", 2)]


def test_collecting_twice_changes_nothing(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.ended()
    wires = store.wire_ids(batch)
    lines = [success_line(wire) for wire in wires]
    store.collect(batch, [*lines, b"odd"])
    tables = ("requests", "batches", "results", "parts")
    before = [store.rows(f"SELECT * FROM {table}") for table in tables]
    kept = result_path(store.directory, 1).read_bytes()
    odd = odd_lines_path(store.directory, 1).read_bytes()
    store.collect(batch, [*lines, b"odd"])
    assert [store.rows(f"SELECT * FROM {table}") for table in tables] == before
    assert result_path(store.directory, 1).read_bytes() == kept
    assert odd_lines_path(store.directory, 1).read_bytes() == odd


def test_a_crash_between_result_file_and_ledger_is_made_good(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take_in(chat_lines(4))
    batch = store.ended()
    monkeypatch.setattr(results_module, "_merge", None)
    with pytest.raises(TypeError):
        store.answer_all(batch)
    assert store.states() == {"batched": 4}
    first = result_path(store.directory, 1).read_bytes()
    monkeypatch.undo()
    assert store.answer_all(batch).succeeded == 4
    assert result_path(store.directory, 1).read_bytes() == first
    assert store.value("SELECT count(*) FROM parts") == 1


def test_an_error_while_merging_leaves_the_batch_to_be_collected_again(store: Store) -> None:
    store.take_in(chat_lines(4))
    batch = store.ended()

    def broken(_model: str, _usage: pl.DataFrame) -> Decimal:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        store.collect(batch, [success_line(w) for w in store.wire_ids(batch)], cost_of=broken)
    assert batch_of(store.ledger, 1).state is BatchState.ENDED
    assert store.answer_all(batch).succeeded == 4


def test_odd_lines_are_kept_and_do_not_stop_the_others(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.ended()
    wires = store.wire_ids(batch)
    odd = [b"{broken", b"\xff\xfe", success_line(f"{INSTALLATION}-9-9"), success_line("foreign")]
    lines = [odd[0], success_line(wires[0]), odd[1], odd[2], success_line(wires[1]), odd[3]]
    huge = success_line(wires[2]).replace(b'"prompt_tokens": 10', b'"prompt_tokens": 99999999999')
    found = store.collect(batch, [*lines, success_line(wires[0]), b"", huge + b"\r"])
    assert (found.succeeded, found.odd_lines) == (3, 5)
    kept = odd_lines_path(store.directory, 1).read_bytes().splitlines()
    reasons = Counter(json.loads(line)["reason"] for line in kept)
    assert reasons["its custom_id is none of this batch"] == 1
    assert reasons["the request has another line already"] == 1
    assert result_rows(store, 1)["line"].to_list()[2] == huge
    assert store.value("SELECT input_tokens FROM requests WHERE row_index = 2") is None


def test_a_batch_without_any_file_gives_its_requests_back(store: Store) -> None:
    store.take_in(chat_lines(3))
    found = store.collect(store.ended())
    assert (found.returned, found.succeeded) == (3, 0)
    assert not result_path(store.directory, 1).exists()
    assert store.value("SELECT count(*) FROM parts") == 0
    assert store.states() == {"pending": 3}


def test_unreadable_results_fail_their_requests_and_are_delivered(store: Store) -> None:
    store.take_in(chat_lines(3))
    batch = store.ended()
    found = store.collect(batch, [success_line(store.wire_ids(batch)[1])], complete=False)
    assert (found.succeeded, found.failed) == (1, 2)
    assert write_own_results_of_requests(store.ledger) == 2
    lines = [json.loads(line) for line in result_rows(store, -1)["line"]]
    assert [line["custom_id"] for line in lines] == ["id-0", "id-2"]
    assert {line["error"]["code"] for line in lines} == {"obm_results_unavailable"}


def test_results_of_our_own_are_written_once(store: Store) -> None:
    store.take_in([chat_line('a "quoted" \U0001f642 id')])
    store.take_in(chat_lines(2), name="other", source_id="s2")
    assert write_own_results_of_requests(store.ledger) == 0
    cancel_job(store.ledger, "job", actor="test")
    with store.ledger.transaction() as reader:
        assert own_results_waiting(reader) == 1
    assert write_own_results_of_requests(store.ledger) == 1
    assert write_own_results_of_requests(store.ledger) == 0
    cancel_job(store.ledger, "other", actor="test")
    assert write_own_results_of_requests(store.ledger) == 2
    kept = result_rows(store, -1)
    assert kept["custom_id"].to_list() == ['a "quoted" \U0001f642 id']
    assert json.loads(kept["line"][0])["error"]["code"] == "obm_cancelled"
    deliveries = store.rows("SELECT result_id, rows FROM parts ORDER BY part_id")
    assert [tuple(row.values()) for row in deliveries] == [(-1, 1), (-2, 2)]


def test_a_crash_before_own_results_are_recorded_is_made_good(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take_in(chat_lines(2))
    cancel_job(store.ledger, "job", actor="test")
    monkeypatch.setattr(results_module, "_add_result", None)
    with pytest.raises(TypeError):
        write_own_results_of_requests(store.ledger)
    assert result_path(store.directory, -1).exists()
    assert store.value("SELECT count(result_id) FROM requests") == 0
    monkeypatch.undo()
    assert write_own_results_of_requests(store.ledger) == 2
    assert store.value("SELECT count(*) FROM parts") == 1


def test_a_refused_batch_tells_its_requests_what_the_provider_said(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.bring_to(store.claim(), BatchState.SUBMITTED)
    ending = Ending(code="mismatched_model", reason="all lines must name one model")
    with store.ledger.transaction() as transaction:
        fail_requests(transaction, batch, ending, request_code="obm_batch_refused")
    write_own_results_of_requests(store.ledger)
    error = json.loads(result_rows(store, -1)["line"][0])["error"]
    assert error["code"] == "obm_batch_refused"
    assert "all lines must name one model" in error["message"]


def test_every_job_of_a_batch_gets_a_delivery_of_its_own(store: Store) -> None:
    store.take_in(chat_lines(3), name="one", source_id="s1")
    store.take_in(chat_lines(2), name="two", source_id="s2")
    store.answer_all(store.ended())
    rows = store.rows("SELECT job_id, rows FROM parts ORDER BY job_id")
    assert [tuple(row.values()) for row in rows] == [(1, 3), (2, 2)]


def _random_line(chance: random.Random, wire: str) -> bytes:
    kinds = [
        success_line(wire),
        failure_line(wire),
        failure_line(wire, status=500, code="server_error"),
        not_run_line(wire),
        not_run_line(wire, code="batch_cancelled"),
        b"garbage " + wire.encode(),
        success_line("beef0123-1-1"),
        b"",
    ]
    return chance.choice(kinds)


@pytest.mark.parametrize("seed", range(6))
def test_what_was_submitted_is_what_came_back_whatever_the_files_hold(
    store: Store, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    status = chance.choice(["completed", "expired", "cancelled", "failed", "new_word"])
    store.take_in(chat_lines(30), rows_a_segment=11)
    batch = store.ended(status=status)
    wires = store.wire_ids(batch)
    lines = [_random_line(chance, chance.choice(wires)) for _ in range(60)]
    found = store.collect(batch, lines[:40], lines[40:], complete=chance.random() < 0.5)
    assert found.succeeded + found.failed + found.cancelled + found.returned == 30
    counted = {"succeeded": found.succeeded, "failed": found.failed, "pending": found.returned}
    counted["cancelled"] = found.cancelled
    assert store.states() == {state: count for state, count in counted.items() if count}
    own = write_own_results_of_requests(store.ledger)
    kept = store.value("SELECT sum(rows) FROM results")
    assert (kept or 0) == 30 - found.returned
    assert store.value("SELECT count(*) FROM requests WHERE result_id < 0") == own
