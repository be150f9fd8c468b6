"""Targets in the ledger: a target that only fails is given up, with what waits for it."""

from datetime import timedelta

from factories import Store

from batching.breaker import TargetHealth
from batching.destinations import parse_destination, target_of
from storage.destinations import ensure_destinations
from storage.ledger import now
from storage.targets import give_up_target, health_of, record_health

CONFIG = '{"type":"webhook","webhook_url":"https://example.com/hook"}'
TARGET = target_of(parse_destination(CONFIG))


def failing_for(store: Store, days: float) -> bool:
    at = now()
    with store.ledger.transaction() as transaction:
        ensure_destinations(transaction, [CONFIG])
        since = at - timedelta(days=days)
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


def test_a_target_that_only_failed_for_days_is_given_up_and_that_is_audited(store: Store) -> None:
    assert failing_for(store, 5.1)
    reason = store.value("SELECT disabled_because FROM destinations WHERE kind = 'webhook'")
    assert reason.startswith("given up")
    assert store.value("SELECT reason FROM transitions WHERE entity = 'target'") == reason
