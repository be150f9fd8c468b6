"""Deliveries in the ledger: what is due, what is sent, what became of it."""

import json
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from factories import INSTALLATION, Store
from pushing_bench import answered as answered_for

from batching.deliveries import Message, idempotency_key
from batching.wire import RequestRef
from storage.deliveries import (
    ATTEMPT_COLUMNS,
    DueTarget,
    add_deliveries,
    due_deliveries,
    due_targets,
    messages_of,
    record_attempts,
    waiting_by_target,
)
from storage.ledger import now

HOOK = "https://example.com/hook"
TARGET = "webhook:https://example.com:443"
OTHER = "webhook:https://example.org:443"
TO_FILES = {"type": "file"}
MINUTE = timedelta(minutes=1)


def answered(store: Store, *urls: str | None, name: str = "id") -> None:
    """Have a request answered for each address (None: a file)."""
    configs = [{"type": "webhook", "webhook_url": url} if url else TO_FILES for url in urls]
    answered_for(store, configs, prefix=name)


def due(store: Store, **changes: Any) -> pl.DataFrame:
    chosen: dict[str, Any] = {"at": now(), "most": 100, "under_way": []} | changes
    chosen["under_way"] = pl.Series("delivery_id", chosen["under_way"], dtype=pl.Int64)
    with store.ledger.transaction() as reader:
        return due_deliveries(reader, TARGET, **chosen)


def ids(store: Store, **changes: Any) -> list[int]:
    return due(store, **changes)["delivery_id"].to_list()


def targets(store: Store) -> list[DueTarget]:
    with store.ledger.transaction() as reader:
        return due_targets(reader, at=now())


def tried(
    store: Store,
    delivery_id: int,
    *,
    outcome: str = "success",
    state: str = "delivered",
    excerpt: str | None = None,
    again_at: datetime | None = None,
) -> int:
    moment = again_at.replace(tzinfo=None) if again_at else None
    at = now().replace(tzinfo=None)
    row = (delivery_id, at, outcome, 200, 12, excerpt, state, moment)
    frame = pl.DataFrame([row], schema=dict(ATTEMPT_COLUMNS), orient="row")
    with store.ledger.transaction() as transaction:
        return record_attempts(transaction, frame)


def delivery(store: Store, delivery_id: int = 1) -> dict[str, Any]:
    return store.rows("SELECT * FROM deliveries WHERE delivery_id = ?", delivery_id)[0]


def numbers(store: Store, delivery_id: int = 1) -> list[int]:
    found = store.rows(
        "SELECT number FROM attempts WHERE delivery_id = ? ORDER BY attempted_at", delivery_id
    )
    return [row["number"] for row in found]


# The duty -----------------------------------------------------------------------------------


def test_each_result_that_is_pushed_has_a_delivery_and_those_for_files_have_none(
    store: Store,
) -> None:
    answered(store, HOOK, None, HOOK)
    answered(store, HOOK, name="more")
    found = store.rows("SELECT delivery_id, state, attempts FROM deliveries ORDER BY delivery_id")
    assert found == [{"delivery_id": n, "state": "pending", "attempts": 0} for n in (1, 2, 3)]


def test_no_results_make_no_deliveries(store: Store) -> None:
    columns = {
        "segment": pl.Int32, "row_index": pl.Int32, "job_id": pl.Int32, "destination_id": pl.Int32,
    }  # fmt: skip
    with store.ledger.transaction() as transaction:
        add_deliveries(transaction, 1, pl.DataFrame(schema=columns))
    assert store.value("SELECT count(*) FROM deliveries") == 0


# What is due --------------------------------------------------------------------------------


def test_nothing_is_due_in_an_empty_ledger(store: Store) -> None:
    assert targets(store) == []
    assert ids(store) == []
    with store.ledger.transaction() as reader:
        assert waiting_by_target(reader) == {}


def test_targets_with_work_are_told_with_how_much(store: Store) -> None:
    answered(store, HOOK, "https://example.org/x", HOOK + "/other")
    assert targets(store) == [
        DueTarget(target=TARGET, kind="webhook", due=2),
        DueTarget(target=OTHER, kind="webhook", due=1),
    ]
    assert ids(store) == [1, 3]


def test_what_is_under_way_is_not_due_again(store: Store) -> None:
    answered(store, HOOK, HOOK, HOOK)
    assert ids(store, under_way=[1, 3]) == [2]
    assert ids(store, under_way=[1, 2, 3]) == []


def test_new_deliveries_are_due_before_those_that_failed(store: Store) -> None:
    answered(store, HOOK, HOOK)
    tried(store, 1, outcome="timeout", state="pending", again_at=now() - MINUTE)
    assert ids(store) == [2, 1]
    assert ids(store, most=1) == [2]


def test_what_waits_for_its_next_attempt_is_due_when_its_time_has_come(store: Store) -> None:
    answered(store, HOOK)
    tried(store, 1, outcome="timeout", state="pending", again_at=now() + MINUTE)
    assert targets(store) == []
    assert ids(store) == []
    assert ids(store, at=now() + 2 * MINUTE) == [1]
    with store.ledger.transaction() as reader:
        assert waiting_by_target(reader) == {TARGET: 1}


@pytest.mark.parametrize("state", ["delivered", "exhausted", "cancelled"])
def test_what_has_ended_is_never_due(store: Store, state: str) -> None:
    answered(store, HOOK)
    store.run("UPDATE deliveries SET state = ?", state)
    assert targets(store) == []
    assert ids(store) == []
    with store.ledger.transaction() as reader:
        assert waiting_by_target(reader) == {}


def test_nothing_is_due_for_a_disabled_destination(store: Store) -> None:
    answered(store, HOOK, HOOK + "/other")
    store.run("UPDATE destinations SET disabled_at = now()::TIMESTAMP WHERE config LIKE '%/other%'")
    assert ids(store) == [1]
    assert [each.due for each in targets(store)] == [1]


def test_a_target_that_is_left_alone_has_no_work_until_its_pause_is_over(store: Store) -> None:
    answered(store, HOOK)
    store.run("UPDATE targets SET open_until = now()::TIMESTAMP + INTERVAL 1 MINUTE")
    assert targets(store) == []
    store.run("UPDATE targets SET open_until = now()::TIMESTAMP - INTERVAL 1 SECOND")
    assert [each.target for each in targets(store)] == [TARGET]


# What is sent -------------------------------------------------------------------------------


def messages(store: Store, rows: pl.DataFrame) -> list[Message]:
    return list(messages_of(store.directory, INSTALLATION, rows))


def test_a_message_is_the_result_with_the_users_id_under_a_lasting_key(store: Store) -> None:
    answered(store, HOOK, HOOK)
    rows = due(store)
    found = messages(store, rows)
    assert [message.delivery_id for message in found] == [1, 2]
    assert [message.custom_id for message in found] == ["id-0", "id-1"]
    assert json.loads(found[1].payload)["custom_id"] == "id-1"
    ref = RequestRef(segment=rows["segment"][1], row=rows["row_index"][1])
    assert found[1].key == idempotency_key(INSTALLATION, ref, rows["result_id"][1])
    assert found == messages(store, due(store))


def test_a_result_that_is_not_in_its_file_makes_no_message(store: Store) -> None:
    answered(store, HOOK, HOOK)
    rows = due(store).with_columns(
        row_index=pl.when(pl.col("delivery_id") == 1).then(999).otherwise(pl.col("row_index"))
    )
    assert [message.delivery_id for message in messages(store, rows)] == [2]


def test_a_result_file_that_is_gone_is_an_error_of_the_disk(store: Store) -> None:
    answered(store, HOOK)
    for path in store.directory.results.iterdir():
        path.unlink()
    with pytest.raises(OSError, match=r"No such file|not found"):
        messages(store, due(store))


# What became of it --------------------------------------------------------------------------


def test_a_result_that_was_taken_is_delivered(store: Store) -> None:
    answered(store, HOOK)
    assert tried(store, 1) == 1
    found = delivery(store)
    assert (found["state"], found["outcome"], found["attempts"]) == ("delivered", "success", 1)
    assert found["problem"] is None
    assert found["next_attempt_at"] is None
    assert found["finished_at"] is not None


def test_a_failure_keeps_what_was_said_and_when_it_is_tried_again(store: Store) -> None:
    answered(store, HOOK)
    again_at = now() + MINUTE
    tried(store, 1, outcome="timeout", state="pending", excerpt="no answer", again_at=again_at)
    found = delivery(store)
    assert (found["state"], found["problem"]) == ("pending", "no answer")
    assert (found["next_attempt_at"], found["finished_at"]) == (again_at, None)
    tried(store, 1)
    assert delivery(store)["problem"] is None
    assert numbers(store) == [1, 2]


def test_a_failure_about_which_nothing_was_said_is_told_by_its_name(store: Store) -> None:
    answered(store, HOOK)
    tried(store, 1, outcome="gone", state="exhausted")
    found = delivery(store)
    assert (found["state"], found["problem"]) == ("exhausted", "gone")
    assert found["finished_at"] is not None


def test_attempts_are_numbered_on_when_a_result_is_brought_again(store: Store) -> None:
    answered(store, HOOK, HOOK)
    tried(store, 2)
    tried(store, 1)
    store.run("UPDATE deliveries SET state = 'pending', attempts = 0 WHERE delivery_id = 1")
    tried(store, 1, outcome="timeout", state="pending")
    tried(store, 1)
    assert numbers(store) == [1, 2, 3]
    assert numbers(store, 2) == [1]
    assert delivery(store)["attempts"] == 2


@pytest.mark.parametrize("state", ["delivered", "exhausted", "cancelled"])
def test_a_late_attempt_is_noted_and_changes_nothing_that_has_ended(
    store: Store, state: str
) -> None:
    answered(store, HOOK)
    store.run("UPDATE deliveries SET state = ?, problem = 'as it was'", state)
    assert tried(store, 1) == 0
    assert (delivery(store)["state"], delivery(store)["problem"]) == (state, "as it was")
    assert numbers(store) == [1]


def test_an_attempt_at_what_is_no_longer_known_is_forgotten(store: Store) -> None:
    answered(store, HOOK)
    assert tried(store, 99) == 0
    assert store.value("SELECT count(*) FROM attempts") == 0


def test_no_attempts_are_no_work(store: Store) -> None:
    answered(store, HOOK)
    empty = pl.DataFrame(schema=dict(ATTEMPT_COLUMNS))
    with store.ledger.transaction() as transaction:
        assert record_attempts(transaction, empty) == 0
    assert delivery(store)["state"] == "pending"
