from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import Store, chat_lines

from storage.delivery_figures import (
    Times,
    attempt_times,
    attempts_by_outcome,
    delivery_delays,
    taken_in_by_role,
)
from storage.delivery_queries import (
    ages_report,
    deliveries_by_state,
    deliveries_page,
    delivery_named,
    destinations_report,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TARGET, OTHER = "webhook:https://a.example:443", "rabbitmq:queue"


def asked(store: Store, query: Any, *arguments: Any, **named: Any) -> Any:
    with store.ledger.transaction() as reader:
        return query(reader, *arguments, **named)


def page(store: Store, **changes: Any) -> list[int]:
    wanted: dict[str, Any] = dict.fromkeys(("state", "outcome", "target", "job", "before"))
    rows = asked(store, deliveries_page, **wanted | {"most": 10} | changes)
    return [row["id"] for row in rows]


@pytest.fixture(name="pushed")
def store_with_deliveries(store: Store) -> Store:
    """Return a store with deliveries 1 (delivered), 2 (exhausted) and 3 (of job two, pending)."""
    for number, (kind, target) in enumerate((("webhook", TARGET), ("rabbitmq", OTHER)), start=1):
        store.run(
            "INSERT INTO destinations BY NAME SELECT ? AS destination_id, ? AS kind, "
            "? AS target, '{}' AS config, now()::TIMESTAMP AS created_at",
            number, kind, target,
        )  # fmt: skip
        store.run("INSERT INTO targets (target, kind, openings) VALUES (?, ?, 0)", target, kind)
    for job, destination, count in (("one", 1, 2), ("two", 2, 1)):
        store.take_in(chat_lines(count, prefix=job), name=job, source_id=job)
        store.run("UPDATE requests SET destination_id = ? WHERE state = 'pending'", destination)
        store.answer_all(store.ended())
    store.run(
        "UPDATE deliveries SET state = 'delivered', outcome = 'success', created_at = ?, "
        "finished_at = ? WHERE delivery_id = 1",
        NOW - timedelta(seconds=30), NOW - timedelta(seconds=10),
    )  # fmt: skip
    store.run(
        "UPDATE deliveries SET state = 'exhausted', outcome = 'timeout' WHERE delivery_id = 2"
    )
    return store


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, [3, 2, 1]),
        ({"most": 2}, [3, 2]),
        ({"before": 3}, [2, 1]),
        ({"state": "exhausted"}, [2]),
        ({"outcome": "success"}, [1]),
        ({"target": OTHER}, [3]),
        ({"target": "nobody"}, []),
        ({"job": "one"}, [2, 1]),
        ({"job": "one", "state": "pending"}, []),
    ],
)
def test_each_filter_leaves_what_it_names(
    pushed: Store, wanted: dict[str, Any], ids: list[int]
) -> None:
    assert page(pushed, **wanted) == ids


def test_a_delivery_is_told_with_its_request_even_when_that_is_forgotten(pushed: Store) -> None:
    found = asked(pushed, delivery_named, 1)
    assert (found["custom_id"], found["job"], found["target"]) == ("one-0", "one", TARGET)
    assert asked(pushed, delivery_named, 4) is None
    pushed.run("DELETE FROM requests WHERE custom_id = 'one-0'")
    assert asked(pushed, delivery_named, 1)["custom_id"] is None
    assert page(pushed) == [3, 2, 1]


def test_a_destination_is_told_with_what_waits_and_how_it_answers(pushed: Store) -> None:
    pushed.run(
        "UPDATE targets SET openings = 1, open_until = TIMESTAMP '2020-01-01' WHERE target = ?",
        TARGET,
    )
    files, first, second = asked(pushed, destinations_report)
    assert (files["kind"], files["pending"], files["breaker"]) == ("file", 0, "closed")
    assert (first["exhausted"], first["pending"], first["breaker"]) == (1, 0, "half_open")
    assert (second["pending"], second["due"]) == (1, 1)
    pushed.run("UPDATE deliveries SET next_attempt_at = TIMESTAMP '2999-01-01'")
    assert asked(pushed, destinations_report)[2]["due"] == 0


def test_deliveries_are_counted_and_the_oldest_is_known(pushed: Store) -> None:
    assert asked(pushed, deliveries_by_state) == {"delivered": 1, "exhausted": 1, "pending": 1}
    pushed.run("UPDATE deliveries SET created_at = now()::TIMESTAMP - INTERVAL 1 HOUR")
    pushed.take_in(chat_lines(1, prefix="x"), name="three", source_id="three")
    pushed.claim()
    ages = asked(pushed, ages_report)
    assert ages.keys() == {"delivery", "planned"}
    assert ages["delivery"] >= 3600 > ages["planned"]
    pushed.run("UPDATE deliveries SET state = 'cancelled'")
    assert asked(pushed, ages_report).keys() == {"planned"}


def test_attempts_and_delays_are_told_by_kind_for_the_last_hour(pushed: Store) -> None:
    for delivery_id, ago_seconds, milliseconds in ((1, 10, 100), (1, 20, 300), (2, 7200, 9000)):
        pushed.run(
            "INSERT INTO attempts VALUES (?, 1, ?, 'success', 200, ?, NULL)",
            delivery_id, NOW - timedelta(seconds=ago_seconds), milliseconds,
        )  # fmt: skip
    assert asked(pushed, attempts_by_outcome) == {"success": 3}
    (times,) = asked(pushed, attempt_times, at=NOW)
    assert (times.kind, times.count, times.seconds[0]) == ("webhook", 2, 0.2)
    assert asked(pushed, delivery_delays, at=NOW) == [
        Times(kind="webhook", count=1, seconds=(20.0, 20.0, 20.0))
    ]
    assert asked(pushed, delivery_delays, at=NOW + timedelta(hours=2)) == []


def test_what_was_taken_in_is_told_by_who_received_it(store: Store) -> None:
    store.take_in(chat_lines(2))
    for role, accepted in (("web", 3), ("consumer", 4)):
        for number in range(2):
            store.run(
                "INSERT INTO sources BY NAME SELECT ? AS source_id, 1 AS part, ? AS name, "
                "'taken_in' AS outcome, 0 AS start_offset, 1 AS end_offset, 1 AS end_line, "
                "? AS accepted, 1 AS rejected, 0 AS repeated, now()::TIMESTAMP AS taken_in_at",
                f"{role}{number}",
                f"{role}-20261123T10000000000{number}-0123abcd.urgent.obmlog",
                accepted,
            )
    found = {
        row["role"]: (row["accepted"], row["refused"]) for row in asked(store, taken_in_by_role)
    }
    assert found == {None: (2, 0), "web": (6, 2), "consumer": (8, 2)}
