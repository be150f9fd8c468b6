from datetime import timedelta
from itertools import product

import pytest
from factories import Store, chat_lines

from batching.lifecycle import BATCH_TRANSITIONS, BatchState
from batching.planning import BatchLimits
from storage.batches import (
    Batch,
    batch_of,
    batches_in,
    known_provider_ids,
    mark_submitted,
    mark_submitting,
    mark_uploaded,
    move,
    postpone,
    provider_ids_before,
    put_back_to_planned,
    put_back_to_uploaded,
)
from storage.jobs import cancel_job
from storage.ledger import now
from storage.provider_files import disposable_files, mark_files_deleted

ONE = BatchLimits(requests=1, bytes=190_000_000, embedding_inputs=1)


def planned(store: Store) -> Batch:
    store.take_in(chat_lines(3))
    return store.claim()


def moves(store: Store, batch_id: int = 1) -> list[tuple[str | None, str]]:
    rows = store.rows(
        "SELECT source, target FROM transitions WHERE entity = 'batch' AND entity_id = ? "
        "ORDER BY happened_at",
        str(batch_id),
    )
    return [(row["source"], row["target"]) for row in rows]


def test_a_batch_moves_along_its_table_and_by_no_other_way(store: Store) -> None:
    batch = planned(store)
    with store.ledger.transaction() as transaction:
        for source, target in product(BatchState, BatchState):
            transaction.execute("UPDATE batches SET state = ?", source.value)
            moved = move(transaction, batch.batch_id, target, fault_code="seen")
            state, code = transaction.rows("SELECT state, fault_code FROM batches")[0].values()
            allowed = target in BATCH_TRANSITIONS[source]
            assert moved is allowed, (source, target)
            assert state == (target if allowed else source)
            assert (code == "seen") is allowed
            transaction.execute("UPDATE batches SET fault_code = NULL")


def test_a_move_that_did_not_happen_leaves_no_line_in_the_audit_trail(store: Store) -> None:
    planned(store)
    before = moves(store)
    with store.ledger.transaction() as transaction:
        assert not move(transaction, 1, BatchState.COLLECTED)
        assert not move(transaction, 99, BatchState.UPLOADED)
    assert moves(store) == before == [(None, "planned")]


def test_the_usual_way_to_the_provider_is_recorded_step_by_step(store: Store) -> None:
    batch = planned(store)
    mark_uploaded(store.ledger, batch, input_file_id="file-1")
    intended = mark_submitting(store.ledger, 1)
    assert intended is not None
    assert intended.create_attempt == 1
    assert intended.intent_at is not None
    assert mark_submitted(store.ledger, 1, provider_id="batch_1", status="validating")
    submitted = batch_of(store.ledger, 1)
    assert (submitted.state, submitted.provider_id) == (BatchState.SUBMITTED, "batch_1")
    assert submitted.next_poll_at is not None
    assert submitted.next_poll_at <= now()
    assert moves(store) == [
        (None, "planned"),
        ("planned", "uploaded"),
        ("uploaded", "submitting"),
        ("submitting", "submitted"),
    ]
    assert known_provider_ids(store.ledger) == {"batch_1"}


def test_each_step_done_twice_counts_once(store: Store) -> None:
    batch = planned(store)
    mark_uploaded(store.ledger, batch, input_file_id="file-1")
    mark_uploaded(store.ledger, batch, input_file_id="file-2")
    assert batch_of(store.ledger, 1).input_file_id == "file-1"
    assert disposable_files(store.ledger, batch.account, most=9) == ["file-2"]
    assert mark_submitting(store.ledger, 1) is not None
    assert mark_submitting(store.ledger, 1) is None
    assert mark_submitted(store.ledger, 1, provider_id="batch_1", status="validating")
    assert not mark_submitted(store.ledger, 1, provider_id="batch_2", status="validating")
    assert known_provider_ids(store.ledger) == {"batch_1"}


def test_a_refused_batch_is_created_again_from_the_same_file(store: Store) -> None:
    store.bring_to(planned(store), BatchState.SUBMITTED)
    later = now() + timedelta(minutes=1)
    with store.ledger.transaction() as transaction:
        assert put_back_to_uploaded(transaction, 1, reason="token limit", not_before=later)
    batch = batch_of(store.ledger, 1)
    assert (batch.state, batch.input_file_id) == (BatchState.UPLOADED, "file-in-1")
    assert (batch.provider_id, batch.intent_at, batch.not_before) == (None, None, later)
    again = mark_submitting(store.ledger, 1)
    assert again is not None
    assert (again.create_attempt, again.not_before) == (2, None)


def test_a_batch_that_was_never_created_is_uploaded_anew(store: Store) -> None:
    batch = planned(store)
    mark_uploaded(store.ledger, batch, input_file_id="file-1")
    batch = mark_submitting(store.ledger, 1) or batch
    with store.ledger.transaction() as transaction:
        assert put_back_to_planned(transaction, batch, reason="proven absent")
    again = batch_of(store.ledger, 1)
    assert (again.state, again.input_file_id) == (BatchState.PLANNED, None)
    assert disposable_files(store.ledger, batch.account, most=9) == ["file-1"]
    mark_uploaded(store.ledger, again, input_file_id="file-2")
    assert disposable_files(store.ledger, batch.account, most=9) == ["file-1"]


def test_a_collected_batch_cannot_be_put_back(store: Store) -> None:
    batch = store.bring_to(planned(store), BatchState.ENDED)
    with store.ledger.transaction() as transaction:
        assert not put_back_to_planned(transaction, batch, reason="late")
        assert not put_back_to_uploaded(transaction, 1, reason="late", not_before=now())
    assert batch_of(store.ledger, 1).state is BatchState.ENDED


@pytest.mark.parametrize("state", [BatchState.PLANNED, BatchState.UPLOADED])
def test_a_batch_that_nobody_wants_any_more_is_never_created(
    store: Store, state: BatchState
) -> None:
    store.bring_to(planned(store), state)
    assert cancel_job(store.ledger, "job", actor="test") == (0, 3)
    assert store.states() == {"cancelled": 3}
    assert batch_of(store.ledger, 1).state is BatchState.CANCELLED
    assert mark_submitting(store.ledger, 1) is None
    assert moves(store)[-1] == (state, "cancelled")


def test_an_upload_that_ends_after_the_cancel_is_only_deleted_again(store: Store) -> None:
    batch = planned(store)
    cancel_job(store.ledger, "job", actor="test")
    mark_uploaded(store.ledger, batch, input_file_id="file-late")
    assert batch_of(store.ledger, 1).state is BatchState.CANCELLED
    assert disposable_files(store.ledger, batch.account, most=9) == ["file-late"]


@pytest.mark.parametrize("way", ["uploaded", "planned"])
def test_a_cancelled_batch_whose_create_came_to_nothing_is_not_created_again(
    store: Store, way: str
) -> None:
    batch = store.bring_to(planned(store), BatchState.SUBMITTING)
    assert cancel_job(store.ledger, "job", actor="test") == (0, 3)
    assert store.states() == {"batched": 3}
    with store.ledger.transaction() as transaction:
        if way == "uploaded":
            put_back_to_uploaded(transaction, 1, reason="refused", not_before=now())
        else:
            put_back_to_planned(transaction, batch, reason="proven absent")
    assert store.states() == {"cancelled": 3}
    assert batch_of(store.ledger, 1).state is BatchState.CANCELLED


def test_a_failed_try_is_counted_with_its_pause_and_reason(store: Store) -> None:
    batch = planned(store)
    postpone(store.ledger, batch, problem="no answer", pause_seconds=60, code="timeout")
    again = batch_of(store.ledger, 1)
    assert again.failures == 1
    assert again.not_before is not None
    assert again.not_before > now()
    assert store.value("SELECT fault_message FROM batches") == "no answer"
    mark_uploaded(store.ledger, again, input_file_id="file-1")
    assert batch_of(store.ledger, 1).failures == 0
    assert batch_of(store.ledger, 1).not_before is None


def test_batches_are_found_by_state_and_an_unknown_one_is_said(store: Store) -> None:
    planned(store)
    assert [found.batch_id for found in batches_in(store.ledger, BatchState.PLANNED)] == [1]
    assert batches_in(store.ledger, BatchState.SUBMITTED, BatchState.ENDED) == []
    with pytest.raises(LookupError, match="no batch 7"):
        batch_of(store.ledger, 7)


def test_only_older_batches_of_the_same_account_prove_which_account_it_is(store: Store) -> None:
    store.take_in(chat_lines(3), rows_a_segment=1)
    for number in (1, 2, 3):
        batch = store.bring_to(store.claim(limits=ONE), BatchState.SUBMITTING)
        assert mark_submitted(
            store.ledger, batch.batch_id, provider_id=f"batch_{number}", status="validating"
        )
    second = batch_of(store.ledger, 2)
    assert provider_ids_before(store.ledger, second) == {"batch_1"}
    store.run("INSERT INTO lanes SELECT * REPLACE (2 AS lane_id, 'b@x' AS account) FROM lanes")
    store.run("UPDATE batches SET lane_id = 2 WHERE batch_id = 1")
    assert provider_ids_before(store.ledger, second) == frozenset()


def test_files_that_are_no_longer_needed_are_deleted_once_and_given_up_in_the_end(
    store: Store,
) -> None:
    batch = planned(store)
    cancel_job(store.ledger, "job", actor="test")
    for name in ("file-1", "file-2"):
        mark_uploaded(store.ledger, batch, input_file_id=name)
    mark_files_deleted(store.ledger, ["file-1"])
    assert disposable_files(store.ledger, batch.account, most=9) == ["file-2"]
    assert disposable_files(store.ledger, "other", most=9) == []
    for _ in range(10):
        mark_files_deleted(store.ledger, [], failed=["file-2"])
    assert disposable_files(store.ledger, batch.account, most=9) == []
