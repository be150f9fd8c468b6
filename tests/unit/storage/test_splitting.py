from decimal import Decimal

import pytest
from factories import Store, chat_lines, rates

from batching.lifecycle import BatchState
from storage.batches import Batch, batch_of
from storage.doctor.diagnosis import examine
from storage.endings import Ending, fail_lines
from storage.jobs import cancel_job
from storage.ledger import now
from storage.reports.attention import attention_list
from storage.splitting import count_pieces, split_batch

REFUSED = Ending(code="invalid_request", reason="invalid_request: something")


def submitted(store: Store, count: int = 5) -> Batch:
    store.take_in(chat_lines(count))
    money = {"rates_of": rates("0.0001"), "max_spend_per_day_usd": Decimal(5)}
    return store.bring_to(store.claim(**money), BatchState.SUBMITTED)


def split(store: Store, batch: Batch, pieces: int = 2) -> list[int]:
    with store.ledger.transaction() as transaction:
        return split_batch(transaction, batch, REFUSED, pieces=pieces)


def test_a_refused_batch_goes_on_as_two_halves_that_hold_all_of_it(store: Store) -> None:
    batch = submitted(store)
    assert split(store, batch) == [2, 3]
    first, second = (batch_of(store.ledger, number) for number in (2, 3))
    assert (first.requests, second.requests) == (3, 2)
    assert first.state is second.state is BatchState.PLANNED
    assert first.bytes + second.bytes == batch.bytes
    assert first.tokens + second.tokens == batch.tokens
    rows = store.rows("SELECT batch_id, state, returns FROM requests ORDER BY row_index")
    assert [row["batch_id"] for row in rows] == [2, 2, 2, 3, 3]
    assert {(row["state"], row["returns"]) for row in rows} == {("batched", 0)}
    ended = store.rows("SELECT state, returned, failed FROM batches WHERE batch_id = 1")
    assert ended == [{"state": "failed", "returned": 5, "failed": 0}]
    expected = "SELECT sum(expected_cost_usd) FROM batches WHERE split_of"
    assert store.value(f"{expected} IS NOT NULL") <= store.value(f"{expected} IS NULL")
    assert examine(store.directory, patience_seconds=0).findings == ()


def test_a_batch_is_split_once(store: Store) -> None:
    batch = submitted(store)
    split(store, batch)
    assert split(store, batch) == []
    assert store.value("SELECT count(*) FROM batches") == 3


def split_and_die(store: Store, batch: Batch) -> None:
    with store.ledger.transaction() as transaction:
        split_batch(transaction, batch, REFUSED, pieces=2)
        raise KeyboardInterrupt


def test_a_crash_before_the_end_leaves_the_whole_batch(store: Store) -> None:
    batch = submitted(store)
    with pytest.raises(KeyboardInterrupt):
        split_and_die(store, batch)
    assert store.value("SELECT count(*) FROM batches") == 1
    assert batch_of(store.ledger, 1).state is BatchState.SUBMITTED


def test_what_is_to_be_cancelled_ends_and_does_not_go_on(store: Store) -> None:
    batch = submitted(store)
    cancel_job(store.ledger, "job", actor="test")
    assert split(store, batch) == []
    assert store.value("SELECT count(*) FROM requests WHERE state = 'cancelled'") == 5


def test_after_the_named_lines_failed_the_others_go_on_as_one_batch(store: Store) -> None:
    batch = submitted(store)
    with store.ledger.transaction() as transaction:
        fail_lines(transaction, batch, [2, 5], request_code="obm_batch_refused")
        assert split_batch(transaction, batch, REFUSED, pieces=1) == [2]
    assert batch_of(store.ledger, 2).requests == 3
    counts = store.rows("SELECT failed, returned FROM batches WHERE batch_id = 1")
    assert counts == [{"failed": 2, "returned": 3}]
    assert examine(store.directory, patience_seconds=0).findings == ()


def test_pieces_that_only_go_on_are_no_matter_for_an_operator(store: Store) -> None:
    batch = submitted(store)
    split(store, batch)
    half = store.bring_to(batch_of(store.ledger, 2), BatchState.SUBMITTED)
    split(store, half)
    with store.ledger.transaction() as reader:
        found = attention_list(reader, at=now())
    assert [row["entity_id"] for row in found if row["kind"] == "batch_failed"] == ["1"]


def test_pieces_of_pieces_count_for_the_first_batch(store: Store) -> None:
    batch = submitted(store)
    split(store, batch)
    half = store.bring_to(batch_of(store.ledger, 2), BatchState.SUBMITTED)
    split(store, half)
    store.bring_to(batch_of(store.ledger, 3), BatchState.ENDED)
    for number in (1, 2, 4):
        piece = batch_of(store.ledger, number)
        with store.ledger.transaction() as reader:
            assert count_pieces(reader, piece) == (2, 1)
