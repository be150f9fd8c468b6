"""Targets in the ledger: a target that only fails is given up, with what waits for it."""

from collections.abc import Collection
from datetime import timedelta

from factories import Store
from pushing_bench import answered, states

from batching.breaker import TargetHealth
from batching.destinations import parse_destination, target_of
from storage.destinations import ensure_destinations
from storage.ledger import now
from storage.targets import (
    disable_destinations,
    exhaust_disabled,
    give_up_target,
    health_of,
    record_health,
    waits_for_disabled,
)

CONFIG = '{"type":"webhook","webhook_url":"https://example.com/hook"}'
TARGET = target_of(parse_destination(CONFIG))


def failing_for(store: Store, days: float, *, attempts: int = 10) -> bool:
    """Fail so many times, spread over these days, and ask whether the target is given up."""
    at = now()
    since = at - timedelta(days=days)
    with store.ledger.transaction() as transaction:
        ensure_destinations(transaction, [CONFIG])
        transaction.execute(
            "INSERT INTO deliveries BY NAME SELECT 1 AS delivery_id, 1 AS job_id, 1 AS segment, "
            "1 AS row_index, 1 AS result_id, destination_id, 'pending' AS state, "
            "$1::TIMESTAMP AS created_at, 0 AS attempts FROM destinations WHERE config = $2",
            since, CONFIG,
        )  # fmt: skip
        for number in range(attempts):
            moment = since + (at - since) * number / max(1, attempts - 1)
            transaction.execute(
                "INSERT INTO attempts VALUES (1, ?, ?, 'timeout', NULL, 9, NULL)", number, moment
            )
        record_health(transaction, TARGET, TargetHealth(failing_since=since, openings=3))
        return give_up_target(transaction, TARGET, failing_days=5, at=at)


def test_health_is_remembered(store: Store) -> None:
    failing_for(store, 1)
    with store.ledger.transaction() as reader:
        assert health_of(reader, TARGET).openings == 3
        assert health_of(reader, "named:unknown") == TargetHealth()


def test_a_target_that_fails_for_a_short_time_is_kept(store: Store) -> None:
    assert not failing_for(store, 4.9)
    assert store.value("SELECT count(*) FROM destinations WHERE disabled_at IS NOT NULL") == 0


def test_a_target_is_kept_though_a_machine_has_slept_or_a_clock_was_put_forward(
    store: Store,
) -> None:
    assert not failing_for(store, 365, attempts=2)
    assert store.value("SELECT count(*) FROM destinations WHERE disabled_at IS NOT NULL") == 0


def test_a_target_that_only_failed_for_days_is_given_up_and_that_is_audited(store: Store) -> None:
    assert failing_for(store, 5.1)
    reason = store.value("SELECT disabled_because FROM destinations WHERE kind = 'webhook'")
    assert reason.startswith("given up")
    assert store.value("SELECT reason FROM transitions WHERE entity = 'target'") == reason


def test_a_target_is_not_given_up_twice_nor_when_that_is_switched_off(store: Store) -> None:
    assert failing_for(store, 5.1)
    assert not failing_for(store, 5.1)
    assert store.value("SELECT count(*) FROM transitions WHERE entity = 'target'") == 1
    with store.ledger.transaction() as transaction:
        assert not give_up_target(transaction, TARGET, failing_days=0, at=now())
        assert not give_up_target(transaction, "named:unknown", failing_days=5, at=now())


def test_health_comes_back_as_it_was_written_and_replaces_what_was_there(store: Store) -> None:
    at = now()
    known = TargetHealth(
        open_until=at + timedelta(minutes=1), openings=2, failing_since=at, last_success_at=at,
        last_outcome="timeout", problem="no answer",
    )  # fmt: skip
    with store.ledger.transaction() as transaction:
        ensure_destinations(transaction, [CONFIG])
        assert health_of(transaction, TARGET) == TargetHealth()
        for health in (known, known, TargetHealth()):
            record_health(transaction, TARGET, health)
            assert health_of(transaction, TARGET) == health
        record_health(transaction, "named:unknown", known)
        assert health_of(transaction, "named:unknown") == TargetHealth()


# Disabled destinations ------------------------------------------------------------------------


def disabled(store: Store, *destination_ids: int, reason: str = "410") -> None:
    with store.ledger.transaction() as transaction:
        disable_destinations(transaction, dict.fromkeys(destination_ids, reason))


def exhausted(store: Store, under_way: Collection[int] = ()) -> int:
    with store.ledger.transaction() as transaction:
        return exhaust_disabled(transaction, under_way=under_way)


def waits(store: Store) -> bool:
    with store.ledger.transaction() as reader:
        return waits_for_disabled(reader)


def hooks(*paths: str) -> list[dict[str, str]]:
    url = "https://example.com/"
    return [{"type": "webhook", "webhook_url": url + path} for path in paths]


def test_a_destination_is_disabled_once_and_keeps_its_first_reason(store: Store) -> None:
    answered(store, hooks("a", "b"))
    disabled(store)
    disabled(store, 1)
    disabled(store, 1, 99, reason="again")
    found = store.rows("SELECT disabled_because FROM destinations ORDER BY destination_id")
    assert [row["disabled_because"] for row in found] == [None, "410", None]
    moves = store.rows("SELECT entity_id, reason FROM transitions WHERE entity = 'destination'")
    assert moves == [{"entity_id": "1", "reason": "410"}]


def test_only_what_waits_for_a_disabled_destination_is_ended_with_its_reason(store: Store) -> None:
    answered(store, hooks("a", "a", "b"))
    assert not waits(store)
    assert exhausted(store) == 0
    store.run("UPDATE deliveries SET state = 'delivered' WHERE delivery_id = 2")
    disabled(store, 1)
    assert waits(store)
    assert exhausted(store) == 1
    assert states(store) == {"exhausted": 1, "delivered": 1, "pending": 1}
    found = store.rows("SELECT * FROM deliveries WHERE state = 'exhausted'")[0]
    assert found["problem"] == "the destination is disabled: 410"
    assert found["finished_at"] is not None
    assert exhausted(store) == 0
    assert not waits(store)


def test_what_is_under_way_to_a_disabled_destination_is_left_to_its_attempt(store: Store) -> None:
    answered(store, hooks("a", "a"))
    disabled(store, 1)
    assert exhausted(store, under_way=[1, 77]) == 1
    assert states(store) == {"exhausted": 1, "pending": 1}
    assert waits(store)
    assert exhausted(store) == 1
