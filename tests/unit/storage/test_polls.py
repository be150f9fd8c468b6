from datetime import timedelta

from factories import Store, chat_lines, provider_answer

from batching.lifecycle import BatchState
from storage.batches import Batch, batch_of
from storage.lanes import back_off, be_cautious
from storage.ledger import now
from storage.polls import mark_ended, mark_polled, note_files


def submitted(store: Store) -> Batch:
    store.take_in(chat_lines(3))
    return store.bring_to(store.claim(), BatchState.SUBMITTED)


def poll(store: Store, status: str, *, accepted: bool = False, **said: object) -> Batch:
    batch = batch_of(store.ledger, 1)
    mark_polled(
        store.ledger, batch, provider_answer(batch, status=status, **said),
        next_poll_at=now() + timedelta(minutes=1), accepted=accepted,
    )  # fmt: skip
    return batch_of(store.ledger, 1)


def cautious_tokens(store: Store) -> object:
    return store.value("SELECT cautious_tokens FROM lanes")


def test_a_poll_notes_status_and_counts_and_keeps_counts_that_are_not_said(store: Store) -> None:
    submitted(store)
    batch = poll(store, "in_progress", request_counts={"total": 3, "completed": 1, "failed": 0})
    assert batch.provider_status == "in_progress"
    poll(store, "in_progress", request_counts=None)
    (row,) = store.rows("SELECT provider_total, provider_completed, next_poll_at FROM batches")
    assert (row["provider_total"], row["provider_completed"]) == (3, 1)
    assert row["next_poll_at"] > now()
    moves = store.rows("SELECT target FROM transitions WHERE source = 'submitted/validating'")
    assert [move["target"] for move in moves] == ["submitted/in_progress"]


def test_only_an_accepted_batch_ends_the_backoff_of_its_lane(store: Store) -> None:
    batch = submitted(store)
    with store.ledger.transaction() as transaction:
        back_off(transaction, batch.lane_id, first_seconds=60, longest_seconds=600)
    poll(store, "validating")
    assert store.value("SELECT refusals FROM lanes") == 1
    poll(store, "in_progress", accepted=True)
    (lane,) = store.rows("SELECT refusals, backoff_until FROM lanes")
    assert (lane["refusals"], lane["backoff_until"]) == (0, None)


def test_caution_eases_once_for_each_accepted_batch(store: Store) -> None:
    batch = submitted(store)
    with store.ledger.transaction() as transaction:
        be_cautious(transaction, batch.lane_id, tokens=1_000)
    poll(store, "validating")
    assert cautious_tokens(store) == 1_000
    poll(store, "in_progress", accepted=True)
    poll(store, "finalizing", accepted=True)
    batch = batch_of(store.ledger, 1)
    assert mark_ended(store.ledger, batch, provider_answer(batch, status="completed"))
    assert cautious_tokens(store) == 2_000


def test_caution_ends_before_it_grows_beyond_all_bounds(store: Store) -> None:
    batch = submitted(store)
    with store.ledger.transaction() as transaction:
        be_cautious(transaction, batch.lane_id, tokens=2**62)
    assert mark_ended(store.ledger, batch, provider_answer(batch, status="completed"))
    assert cautious_tokens(store) is None


def test_an_end_is_recorded_once_with_its_files(store: Store) -> None:
    batch = submitted(store)
    answer = provider_answer(batch, status="expired", output_file_id="file-o", error_file_id="")
    assert mark_ended(store.ledger, batch, answer)
    assert not mark_ended(store.ledger, batch, answer)
    ended = batch_of(store.ledger, 1)
    assert (ended.state, ended.output_file_id, ended.error_file_id) == (
        BatchState.ENDED, "file-o", None,
    )  # fmt: skip
    files = store.rows("SELECT file_id, disposable FROM provider_files")
    assert files == [{"file_id": "file-o", "disposable": False}]


def test_files_that_are_announced_after_the_end_are_noted(store: Store) -> None:
    batch = submitted(store)
    mark_ended(store.ledger, batch, provider_answer(batch, status="completed"))
    late = provider_answer(batch, status="completed", output_file_id="file-o", error_file_id="f-e")
    note_files(store.ledger, batch, late)
    note_files(store.ledger, batch, late)
    ended = batch_of(store.ledger, 1)
    assert (ended.output_file_id, ended.error_file_id) == ("file-o", "f-e")
    assert store.value("SELECT count(*) FROM provider_files") == 2
