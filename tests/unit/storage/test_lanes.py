from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from factories import Store, chat_lines, policy, rates, token_limit

from batching.lifecycle import BatchState, WaitReason
from batching.planning import Wait
from batching.token_limits import TokenLimit
from storage.accounts import record_trouble
from storage.batches import put_back_to_uploaded
from storage.lanes import (
    Lane,
    back_off,
    budget_left_usd,
    end_backoff,
    nothing_else_live,
    read_lanes,
    record_wait,
    room_for,
    set_paused,
)
from storage.ledger import now

LimitRule = Callable[[str, int | None], TokenLimit]


def lanes(store: Store) -> list[Lane]:
    with store.ledger.transaction() as reader:
        return read_lanes(reader, policy(), at=now())


def refuse(store: Store, *, at_least_seconds: float = 0.0, limit: int | None = None) -> datetime:
    with store.ledger.transaction() as transaction:
        return back_off(
            transaction, 1, first_seconds=60, longest_seconds=200,
            at_least_seconds=at_least_seconds, learned_limit=limit,
        )  # fmt: skip


def has_room(store: Store, batch_id: int, *, token_limit_of: LimitRule) -> bool:
    with store.ledger.transaction() as reader:
        return room_for(reader, batch_id, token_limit_of=token_limit_of, longest_pause_seconds=3600)


def wait_for(store: Store, wait: Wait | None) -> tuple[object, ...]:
    with store.ledger.transaction() as transaction:
        record_wait(transaction, 1, wait)
        row = transaction.row("SELECT wait_reason, wait_detail, waiting_since FROM lanes")
    assert row is not None
    return tuple(row.values())


def test_a_lane_shows_what_is_pending_in_it(store: Store) -> None:
    store.take_in(chat_lines(3))
    (lane,) = lanes(store)
    row = store.rows("SELECT sum(wire_bytes)::BIGINT AS b, sum(tokens)::BIGINT AS t FROM requests")[
        0
    ]
    view = lane.view
    assert (view.pending_requests, view.pending_bytes, view.pending_tokens) == (
        3,
        row["b"],
        row["t"],
    )
    assert view.live_tokens == 0
    store.claim()
    (lane,) = lanes(store)
    assert (lane.view.pending_requests, lane.view.live_tokens) == (0, row["t"])


@pytest.mark.parametrize(
    ("state", "live"),
    [
        (BatchState.PLANNED, True),
        (BatchState.UPLOADED, True),
        (BatchState.SUBMITTING, True),
        (BatchState.SUBMITTED, True),
        (BatchState.ENDED, False),
    ],
)
def test_what_is_reserved_is_always_the_sum_of_what_is_on_its_way(
    store: Store, state: BatchState, *, live: bool
) -> None:
    store.take_in(chat_lines(3))
    batch = store.bring_to(store.claim(), state)
    (lane,) = lanes(store)
    assert lane.view.live_tokens == (batch.tokens if live else 0)


def test_refusals_make_growing_pauses_until_a_batch_is_accepted(store: Store) -> None:
    store.take_in(chat_lines(1))
    pauses = [round((refuse(store) - now()).total_seconds()) for _ in range(4)]
    assert pauses == [60, 120, 200, 200]
    assert lanes(store)[0].view.backoff_until is not None
    with store.ledger.transaction() as transaction:
        end_backoff(transaction, 1)
    assert lanes(store)[0].view.backoff_until is None
    assert round((refuse(store, at_least_seconds=90) - now()).total_seconds()) == 90


def test_a_limit_that_the_provider_names_is_learned(store: Store) -> None:
    store.take_in(chat_lines(1))
    refuse(store, limit=90_000)
    refuse(store)
    view = lanes(store)[0].view
    assert (view.token_limit, view.token_limit_certain) == (90_000, True)


def test_waiting_since_stays_as_long_as_the_reason_does(store: Store) -> None:
    store.take_in(chat_lines(1))
    first = wait_for(store, Wait(reason=WaitReason.CAPACITY, detail="900 of 1,000"))
    second = wait_for(store, Wait(reason=WaitReason.CAPACITY, detail="800 of 1,000"))
    assert second == ("capacity", "800 of 1,000", first[2])
    third = wait_for(store, Wait(reason=WaitReason.BACKOFF, detail="pause"))
    assert third[2] != first[2]
    assert wait_for(store, None) == (None, None, None)


def test_a_batch_that_was_refused_goes_before_new_ones(store: Store) -> None:
    store.take_in(chat_lines(3))
    store.bring_to(store.claim(), BatchState.SUBMITTED)
    assert lanes(store)[0].view.unsent_batches == 0
    with store.ledger.transaction() as transaction:
        put_back_to_uploaded(transaction, 1, reason="refused", not_before=now())
    assert lanes(store)[0].view.unsent_batches == 1


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_an_uploaded_batch_is_created_only_if_it_fits_exactly(
    store: Store, spare: int, *, fits: bool
) -> None:
    store.take_in(chat_lines(2), rows_a_segment=1)
    first = store.bring_to(store.claim(limits=policy().limits), BatchState.SUBMITTED)
    store.take_in(chat_lines(2, prefix="b"), source_id="s2", name="b")
    second = store.bring_to(store.claim(), BatchState.UPLOADED)
    rule = token_limit(first.tokens + second.tokens + spare)
    assert has_room(store, second.batch_id, token_limit_of=rule) is fits


def test_a_batch_larger_than_its_limit_may_go_when_nothing_else_is_enqueued(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.bring_to(store.claim(), BatchState.UPLOADED)
    assert has_room(store, batch.batch_id, token_limit_of=token_limit(1))


def test_a_lane_that_is_held_lets_no_uploaded_batch_go(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.bring_to(store.claim(), BatchState.UPLOADED)
    rule = policy().token_limit_of
    assert has_room(store, 1, token_limit_of=rule)
    assert set_paused(store.ledger, 1, paused=True, actor="ann")
    assert not set_paused(store.ledger, 1, paused=True, actor="ann")
    assert not has_room(store, 1, token_limit_of=rule)
    assert set_paused(store.ledger, 1, paused=False, actor="ann")
    refuse(store)
    assert not has_room(store, 1, token_limit_of=rule)
    with store.ledger.transaction() as transaction:
        end_backoff(transaction, 1)
    record_trouble(store.ledger, batch.account, "invalid key")
    assert not has_room(store, 1, token_limit_of=rule)
    assert not has_room(store, 99, token_limit_of=rule)


def test_the_days_budget_counts_what_was_committed_since_midnight_in_utc(store: Store) -> None:
    money = policy(rates_of=rates("0.01"), max_spend_per_day_usd=Decimal(100))
    store.take_in(chat_lines(2))
    batch = store.bring_to(
        store.claim(rates_of=rates("0.01"), max_spend_per_day_usd=Decimal(100)),
        BatchState.ENDED,
    )
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    committed = batch.tokens * Decimal("0.01")
    for intent, spent in (
        (datetime(2026, 3, 2, tzinfo=UTC), committed),
        (datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC), Decimal(0)),
    ):
        store.run("UPDATE batches SET intent_at = ?", intent)
        with store.ledger.transaction() as reader:
            assert budget_left_usd(reader, money, at=noon) == 100 - spent
    store.run("UPDATE batches SET intent_at = ?, cost_usd = 0.5", noon)
    with store.ledger.transaction() as reader:
        assert budget_left_usd(reader, money, at=noon) == Decimal("99.5")
        assert budget_left_usd(reader, policy(), at=noon) is None


def test_a_batch_knows_whether_it_is_alone_in_its_lane(store: Store) -> None:
    store.take_in(chat_lines(1))
    store.claim()
    with store.ledger.transaction() as reader:
        assert nothing_else_live(reader, 1, 1)
        assert not nothing_else_live(reader, 1, 2)
    store.run("UPDATE batches SET state = 'ended', planned_at = ?", now() - timedelta(days=1))
    with store.ledger.transaction() as reader:
        assert nothing_else_live(reader, 1, 2)
