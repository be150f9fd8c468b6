"""Results that are made here: their files survive a kill and a restore."""

from factories import Store, chat_lines

from storage.doctor.diagnosis import examine
from storage.jobs import cancel_job
from storage.results import write_own_results_of_requests


def own_files(store: Store) -> list[str]:
    return sorted(path.name for path in store.directory.results.glob("own-*.parquet"))


def forget_recording(store: Store) -> None:
    """Bring the ledger back to the moment before the file was recorded."""
    store.run("UPDATE requests SET result_id = NULL, result_bytes = NULL")
    for table in ("results", "parts", "deliveries"):
        store.run(f"DELETE FROM {table}")


def test_a_file_that_a_kill_left_unrecorded_is_written_anew_and_no_orphan(store: Store) -> None:
    store.take_in(chat_lines(2))
    cancel_job(store.ledger, "job", actor="test")
    assert write_own_results_of_requests(store.ledger) == 2
    forget_recording(store)

    assert write_own_results_of_requests(store.ledger) == 2

    assert own_files(store) == ["own-000001.parquet"]
    store.deliver()
    assert store.outbox_ids("job/results.jsonl") == ["id-0", "id-1"]
    assert examine(store.directory, patience_seconds=0.0).findings == ()


def test_a_file_that_holds_more_than_what_waits_is_left_as_it_is(store: Store) -> None:
    store.take_in(chat_lines(2))
    cancel_job(store.ledger, "job", actor="test")
    assert write_own_results_of_requests(store.ledger) == 2
    forget_recording(store)
    before = (store.directory.results / "own-000001.parquet").read_bytes()
    store.run("UPDATE requests SET state = 'pending', error_code = NULL WHERE row_index = 0")

    assert write_own_results_of_requests(store.ledger) == 1

    assert own_files(store) == ["own-000001.parquet", "own-000002.parquet"]
    assert (store.directory.results / "own-000001.parquet").read_bytes() == before


def test_a_file_that_cannot_be_read_is_left_as_it_is(store: Store) -> None:
    store.take_in(chat_lines(1))
    cancel_job(store.ledger, "job", actor="test")
    damaged = store.directory.results / "own-000001.parquet"
    damaged.write_bytes(b"no parquet")

    assert write_own_results_of_requests(store.ledger) == 1

    assert own_files(store) == ["own-000001.parquet", "own-000002.parquet"]
    assert damaged.read_bytes() == b"no parquet"
