"""What the ledger and the folders wait for is not held up by a clock that is put back."""

from datetime import timedelta
from decimal import Decimal

import pytest
from factories import ACCOUNT, Store, chat_lines, policy, rates
from put_clocks import put_clock

from batching.lifecycle import BatchState
from storage.accounts import probe_is_due, record_trouble
from storage.health import HealthFile, read_health
from storage.lanes import budget_left_usd, read_lanes
from storage.ledger import Transaction, now
from storage.log_files import logs_are_due, new_log_name
from storage.outbox import HELD_UNTIL, pending_parts
from storage.staging import claimable_files
from storage.submission_lock import lock_submission, submission_lock
from storage.waits import is_due_sql

PUT_BACK_HOURS = [-24, -24 * 365]


def due(reader: Transaction, seconds: float | None) -> bool:
    at = now()
    moment = None if seconds is None else at + timedelta(seconds=seconds)
    condition = is_due_sql("$1::TIMESTAMP", "$2", longest_seconds=600)
    return bool(reader.value(f"SELECT {condition}", moment, at))


def test_a_wait_in_the_ledger_is_over_in_time_or_when_it_is_longer_than_any(store: Store) -> None:
    with store.ledger.transaction() as reader:
        assert [due(reader, seconds) for seconds in (None, -86_400, 0, 1, 600, 601, 86_400)] == [
            True, True, True, False, False, True, True,
        ]  # fmt: skip


@pytest.mark.parametrize("hours", PUT_BACK_HOURS)
def test_lanes_accounts_and_the_lock_on_submission_go_on(store: Store, hours: float) -> None:
    store.take_in(chat_lines(2))
    record_trouble(store.ledger, ACCOUNT, "no credit")
    with store.ledger.transaction() as transaction:
        lock_submission(transaction, reason="restored", actor="test")
        transaction.execute("UPDATE lanes SET backoff_until = ?", now() + timedelta(minutes=30))
        waiting = policy(close_at_once=False, max_wait_seconds=3600.0)
        assert not probe_is_due(transaction, ACCOUNT)
        (lane,) = read_lanes(transaction, waiting, at=now())
        assert lane.view.backoff_until is not None
        assert not lane.view.due
        with put_clock() as clock:
            clock.put(hours=hours)
            (lane,) = read_lanes(transaction, waiting, at=now())
            assert lane.view.backoff_until is None
            assert lane.view.due
            assert probe_is_due(transaction, ACCOUNT)
            lock = submission_lock(transaction)
            assert lock is not None
            assert lock.is_due(now())


def test_what_was_spent_while_the_clock_was_ahead_is_not_held_against_today(store: Store) -> None:
    money = policy(rates_of=rates("0.01"), max_spend_per_day_usd=Decimal(100))
    store.take_in(chat_lines(2))
    store.bring_to(store.claim(), BatchState.ENDED)
    store.run("UPDATE batches SET cost_usd = 60, intent_at = ?", now() + timedelta(days=300))
    with store.ledger.transaction() as reader:
        assert budget_left_usd(reader, money, at=now()) == 100
        assert budget_left_usd(reader, money, at=now() + timedelta(days=300)) == 40


@pytest.mark.parametrize("hours", PUT_BACK_HOURS)
def test_files_and_logs_in_the_inbox_are_taken(store: Store, hours: float) -> None:
    inbox = store.directory.inbox
    (inbox / "job.jsonl").write_text("{}\n")
    (inbox / new_log_name("web")).write_text("")
    assert claimable_files(store.directory, stable_seconds=60) == []
    assert not logs_are_due(store.directory, patience_seconds=60)
    with put_clock() as clock:
        clock.put(seconds=-5)
        assert claimable_files(store.directory, stable_seconds=60) == []
        assert not logs_are_due(store.directory, patience_seconds=60)
        clock.put(hours=hours)
        assert claimable_files(store.directory, stable_seconds=60) == [inbox / "job.jsonl"]
        assert logs_are_due(store.directory, patience_seconds=60)


def test_a_part_of_the_outbox_is_tried_again_unless_it_is_held(store: Store) -> None:
    store.run(
        "INSERT INTO jobs BY NAME SELECT 1 AS job_id, 'job' AS name, 'job' AS slug, "
        "false AS endless, false AS paused, now()::TIMESTAMP AS created_at"
    )
    store.run(
        "INSERT INTO parts BY NAME SELECT 1 AS part_id, 1 AS job_id, 1 AS result_id, "
        "'pending' AS state, 1 AS rows, now()::TIMESTAMP AS created_at, 1 AS attempts, "
        "?::TIMESTAMP AS next_attempt_at",
        now() + timedelta(minutes=5),
    )
    with store.ledger.transaction() as transaction, put_clock() as clock:
        assert pending_parts(transaction, most=9) == []
        clock.put(hours=-24)
        assert [part.part_id for part in pending_parts(transaction, most=9)] == [1]
        transaction.execute(f"UPDATE parts SET next_attempt_at = TIMESTAMP '{HELD_UNTIL}'")
        assert pending_parts(transaction, most=9) == []


def test_a_role_that_spoke_before_the_clock_was_put_back_is_not_believed_for_ever(
    store: Store,
) -> None:
    HealthFile(store.directory.health, "pipeline").report("running")
    health = read_health(store.directory.health, "pipeline")
    assert health is not None
    assert health.is_fresh(now())
    assert health.is_fresh(now() - timedelta(seconds=5))
    assert not health.is_fresh(now() + timedelta(hours=8))
    assert not health.is_fresh(now() - timedelta(hours=1))
