"""What operators do to deliveries: bring them again, give them up, enable destinations."""

from datetime import timedelta
from typing import Any

import pytest
from factories import Store
from pushing_bench import answered, states

from batching.errors import BadInput
from storage.ledger import now
from storage.redelivery import Selection, cancel_deliveries, enable_destination, redeliver

TARGET = "webhook:https://example.com:443"
OTHER = "webhook:https://example.org:443"
HOOK = {"type": "webhook", "webhook_url": "https://example.com/hook"}
OTHER_HOOK = {"type": "webhook", "webhook_url": "https://example.org/hook"}
ALL_STATES = ("pending", "delivered", "exhausted", "cancelled")


@pytest.fixture(name="mixed")
def store_with_deliveries_in_every_state(store: Store) -> Store:
    """Return a store with one delivery in each state: 1 pending, 2 delivered, and so on."""
    answered(store, [HOOK] * 4)
    for number, state in enumerate(ALL_STATES, start=1):
        store.run(
            "UPDATE deliveries SET state = ?, attempts = 10, outcome = 'timeout', "
            "problem = 'no answer', finished_at = now()::TIMESTAMP WHERE delivery_id = ?",
            state, number,
        )  # fmt: skip
    return store


def again(store: Store, *, failed_only: bool = False, **selection: Any) -> int:
    return redeliver(store.ledger, Selection(**selection), failed_only=failed_only, actor="me")


def cancelled(store: Store, **selection: Any) -> int:
    return cancel_deliveries(store.ledger, Selection(**selection), actor="me")


def state_of(store: Store, delivery_id: int) -> str:
    return str(store.value("SELECT state FROM deliveries WHERE delivery_id = ?", delivery_id))


def disable(store: Store, target: str) -> None:
    store.run(
        "UPDATE destinations SET disabled_at = now()::TIMESTAMP, disabled_because = '410' "
        "WHERE target = ?",
        target,
    )
    store.run(
        "UPDATE targets SET openings = 3, open_until = now()::TIMESTAMP + INTERVAL 1 HOUR, "
        "failing_since = now()::TIMESTAMP, problem = 'gone' WHERE target = ?",
        target,
    )


def is_disabled(store: Store, target: str) -> bool:
    query = "SELECT count(*) FROM destinations WHERE target = ? AND disabled_at IS NOT NULL"
    return bool(store.value(query, target))


def audit(store: Store) -> list[tuple[str, str]]:
    found = store.rows("SELECT target, reason FROM transitions WHERE entity = 'delivery'")
    return [(row["target"], row["reason"]) for row in found]


# Bringing again -----------------------------------------------------------------------------


def test_only_dead_letters_are_brought_again_when_only_failures_are_meant(mixed: Store) -> None:
    assert again(mixed, failed_only=True) == 1
    assert [state_of(mixed, number) for number in (1, 2, 3, 4)] == [
        "pending", "delivered", "pending", "cancelled",
    ]  # fmt: skip
    assert again(mixed, failed_only=True) == 0


def test_what_was_delivered_is_brought_again_too_when_everything_is_meant(mixed: Store) -> None:
    assert again(mixed) == 2
    assert [state_of(mixed, number) for number in (1, 2, 3, 4)] == [
        "pending", "pending", "pending", "cancelled",
    ]  # fmt: skip
    assert again(mixed) == 0


def test_what_is_brought_again_begins_anew_and_what_was_waiting_goes_on(mixed: Store) -> None:
    again(mixed, failed_only=True)
    begun = mixed.rows("SELECT * FROM deliveries WHERE delivery_id = 3")[0]
    assert begun["attempts"] == 0
    for column in ("next_attempt_at", "outcome", "problem", "finished_at"):
        assert begun[column] is None
    assert mixed.value("SELECT attempts FROM deliveries WHERE delivery_id = 1") == 10


def test_bringing_again_enables_the_destinations_of_what_is_meant_and_no_others(
    store: Store,
) -> None:
    answered(store, [HOOK, OTHER_HOOK])
    store.run("UPDATE deliveries SET state = 'exhausted'")
    disable(store, TARGET)
    disable(store, OTHER)
    assert again(store, failed_only=True, target=TARGET) == 1
    assert not is_disabled(store, TARGET)
    assert is_disabled(store, OTHER)
    assert store.value("SELECT openings FROM targets WHERE target = ?", TARGET) == 0
    assert store.value("SELECT openings FROM targets WHERE target = ?", OTHER) == 3


def test_in_an_empty_ledger_there_is_nothing_to_do(store: Store) -> None:
    assert again(store) == 0
    assert cancelled(store) == 0


def test_what_was_done_is_in_the_audit_trail(mixed: Store) -> None:
    again(mixed, failed_only=True, job="id")
    cancelled(mixed)
    assert audit(mixed) == [
        ("redelivered", "1 deliveries; job id"),
        ("cancelled", "2 deliveries; all"),
    ]


# Giving up ----------------------------------------------------------------------------------


def test_only_what_waits_is_given_up(mixed: Store) -> None:
    assert cancelled(mixed) == 1
    assert states(mixed) == {"cancelled": 2, "delivered": 1, "exhausted": 1}
    found = mixed.rows("SELECT * FROM deliveries WHERE delivery_id = 1")[0]
    assert found["problem"] == "cancelled by an operator"
    assert found["finished_at"] is not None
    assert found["next_attempt_at"] is None
    assert cancelled(mixed) == 0


# Which are meant ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        ({}, [1, 2, 3]),
        ({"job": "id"}, [1, 2]),
        ({"job": "unknown"}, []),
        ({"batch": 2}, [3]),
        ({"custom_ids": ["id-1", "more-0", "unknown"]}, [2, 3]),
        ({"delivery_ids": [3, 1, 99]}, [1, 3]),
        ({"target": OTHER}, [2]),
        ({"target": TARGET, "job": "id"}, [1]),
        ({"target": OTHER, "job": "more"}, []),
        ({"since": now() + timedelta(days=1)}, []),
        ({"until": now() - timedelta(days=1)}, []),
        ({"since": now() - timedelta(days=1), "until": now() + timedelta(days=1)}, [1, 2, 3]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_everything_that_is_given_must_hold(
    store: Store, selection: dict[str, Any], meant: list[int]
) -> None:
    answered(store, [HOOK, OTHER_HOOK])
    answered(store, [HOOK], prefix="more")
    assert cancelled(store, **selection) == len(meant)
    found = store.rows("SELECT delivery_id FROM deliveries WHERE state = 'cancelled'")
    assert sorted(row["delivery_id"] for row in found) == meant


def test_an_hour_in_the_middle_is_meant_without_its_end(store: Store) -> None:
    answered(store, [HOOK] * 3)
    noon = now().replace(hour=12, minute=0, second=0, microsecond=0)
    for number, hours in ((1, 0), (2, 1), (3, 2)):
        store.run(
            "UPDATE deliveries SET created_at = ?::TIMESTAMP WHERE delivery_id = ?",
            noon + timedelta(hours=hours), number,
        )  # fmt: skip
    hour = timedelta(hours=1)
    assert cancelled(store, since=noon + hour, until=noon + 2 * hour) == 1
    assert state_of(store, 2) == "cancelled"


def test_a_selection_says_what_is_given_and_stays_short() -> None:
    assert str(Selection()) == "all"
    assert Selection().is_everything
    many = Selection(job="a", custom_ids=[f"id-{number}" for number in range(1_000)])
    assert str(many).startswith("job a, custom_ids ['id-0'")
    assert len(str(many)) < 250
    assert not many.is_everything


# Enabling -----------------------------------------------------------------------------------


def test_enabling_a_target_enables_all_its_destinations_and_forgets_its_failures(
    store: Store,
) -> None:
    answered(store, [HOOK, HOOK | {"webhook_url": "https://example.com/x"}, OTHER_HOOK])
    disable(store, TARGET)
    disable(store, OTHER)
    assert enable_destination(store.ledger, TARGET, actor="me") == 2
    assert not is_disabled(store, TARGET)
    assert is_disabled(store, OTHER)
    found = store.rows("SELECT * FROM targets WHERE target = ?", TARGET)[0]
    assert found["openings"] == 0
    assert found["open_until"] is found["failing_since"] is found["problem"] is None
    moves = store.rows("SELECT actor FROM transitions WHERE target = 'enabled'")
    assert moves == [{"actor": "me"}] * 2


def test_enabling_what_is_enabled_only_ends_its_pause(store: Store) -> None:
    answered(store, [HOOK])
    store.run("UPDATE targets SET openings = 1, open_until = now()::TIMESTAMP + INTERVAL 1 HOUR")
    assert enable_destination(store.ledger, TARGET, actor="me") == 0
    assert store.value("SELECT open_until FROM targets WHERE target = ?", TARGET) is None


def test_a_target_that_nobody_knows_is_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="no target is called 'named:typo'"):
        enable_destination(store.ledger, "named:typo", actor="me")
