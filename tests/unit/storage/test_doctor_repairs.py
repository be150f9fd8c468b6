"""What the doctor mends is whole again afterwards, and mending twice changes nothing."""

import os
from collections.abc import Callable

import polars as pl
import pytest
from ailing import codes, diagnosed, ids_in, old, results_of
from factories import INSTALLATION, Store, chat_lines

from storage.batch_files import batch_folder, output_path
from storage.doctor import repairs
from storage.doctor.repairs import Treatment, treat
from storage.locks import exclusive_lock


def treated(store: Store) -> Treatment:
    return treat(store.ledger, patience_seconds=0)


def _contents(store: Store) -> dict[str, list[dict[str, object]]]:
    tables = ("requests", "batches", "results", "parts", "deliveries", "lanes", "targets")
    return {table: store.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in tables}


def _refused_batch(store: Store) -> None:
    """A batch that ended before it was created, and a request that was left in it."""
    batch = store.claim()
    store.run(
        "UPDATE batches SET state = 'failed', finished_at = now()::TIMESTAMP, succeeded = 0, "
        "failed = 0, cancelled = 0, returned = requests WHERE batch_id = ?",
        batch.batch_id,
    )


def _cancel_wish(store: Store) -> None:
    batch = store.claim()
    store.run("UPDATE batches SET cancel_requested = true WHERE batch_id = ?", batch.batch_id)


def _lost_results(store: Store) -> None:
    results_of(store, 1).unlink()


def _swapped_answers(store: Store) -> None:
    path = results_of(store, 1)
    pl.read_parquet(path).with_columns(pl.col("line").reverse()).write_parquet(path)


def _lost_own_results(store: Store) -> None:
    os.truncate(results_of(store, -1), 20)


def _leftovers(store: Store) -> None:
    old(store.directory.segments / ".000077.parquet.tmp")
    old(store.directory.outbox / "job" / "parts" / ".part-000077.parquet.tmp")
    old(batch_folder(store.directory, 1) / ".output.jsonl.tmp")


def _sql(statement: str) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        assert store.run(statement) > 0

    return damage


DAMAGES: dict[str, Callable[[Store], None]] = {
    "stuck_unsent": _refused_batch,
    "cancel_not_carried_out": _cancel_wish,
    "lost_delivery": _sql("DELETE FROM deliveries WHERE row_index IN (1, 2)"),
    "lost_part": _sql("DELETE FROM parts WHERE result_id = 1"),
    "destinations_target": _sql("DELETE FROM targets"),
    "attempts_delivery": _sql(
        "INSERT INTO attempts VALUES (99, 1, now()::TIMESTAMP, 'success', 200, 1, NULL)"
    ),
    "wait_without_since": _sql("UPDATE lanes SET wait_reason = 'capacity', waiting_since = NULL"),
    "pause_without_refusal": _sql("UPDATE lanes SET backoff_until = now()::TIMESTAMP"),
    "result_file_missing": _lost_results,
    "result_of_another_request": _swapped_answers,
    "orphan_temporary": _leftovers,
}


@pytest.mark.parametrize("code", DAMAGES)
def test_what_can_be_mended_is_mended_and_mending_again_changes_nothing(
    system: Store, code: str
) -> None:
    DAMAGES[code](system)
    assert code in codes(system)

    treatment = treated(system)

    assert treatment.report.findings == ()
    assert sum(repair.mended for repair in treatment.repairs) > 0
    assert system.value("SELECT count(*) FROM transitions WHERE actor = 'doctor'") > 0
    before = _contents(system)
    again = treated(system)
    assert again.repairs == ()
    assert _contents(system) == before


def test_results_made_here_are_made_again(system: Store) -> None:
    _lost_own_results(system)
    assert "result_file_missing" in codes(system)

    assert treated(system).report.findings == ()


def test_a_rebuilt_result_file_is_the_one_that_was_lost(system: Store) -> None:
    before = pl.read_parquet(results_of(system, 1))
    _lost_results(system)

    treated(system)

    assert pl.read_parquet(results_of(system, 1)).equals(before)


def test_a_result_file_without_its_raw_files_is_left_as_it_is(system: Store) -> None:
    output_path(system.directory, 1).unlink()
    _swapped_answers(system)
    before = results_of(system, 1).read_bytes()

    treatment = treated(system)

    assert [repair.mended for repair in treatment.repairs] == [0]
    assert "2 raw lines" in treatment.repairs[0].problems[0]
    assert "result_of_another_request" in {each.code for each in treatment.report.findings}
    assert results_of(system, 1).read_bytes() == before


def test_a_lost_delivery_waits_to_be_pushed_again(system: Store) -> None:
    system.run("DELETE FROM deliveries WHERE row_index = 1")

    treated(system)

    rows = system.rows("SELECT row_index, state FROM deliveries ORDER BY row_index")
    assert rows == [{"row_index": number, "state": "pending"} for number in range(4)]


@pytest.mark.parametrize("result_id", [1, -1])
def test_a_lost_part_whose_lines_stand_in_the_outbox_is_not_brought_twice(
    system: Store, result_id: int
) -> None:
    system.run("DELETE FROM parts WHERE result_id = ?", result_id)

    treated(system)
    system.deliver()

    ids = ids_in(system.directory.outbox / "job" / "results.jsonl")
    assert sorted(ids) == sorted(f"id-{number}" for number in range(10))
    assert diagnosed(system).findings == ()


def test_a_lost_part_whose_lines_are_nowhere_is_brought(system: Store) -> None:
    system.run("DELETE FROM parts")
    (system.directory.outbox / "job" / "results.jsonl").unlink()

    treated(system)
    assert system.deliver() == 2

    ids = ids_in(system.directory.outbox / "job" / "results.jsonl")
    assert sorted(ids) == sorted(f"id-{number}" for number in range(10))
    assert diagnosed(system).findings == ()


def test_a_lost_part_is_not_guessed_where_other_bytes_stand(system: Store) -> None:
    system.run("DELETE FROM parts WHERE result_id = 1")
    path = system.directory.outbox / "job" / "results.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id-2"', b'"id-9"'))

    treatment = treated(system)

    assert "bytes that nobody recorded" in treatment.repairs[0].problems[0]
    assert system.value("SELECT count(*) FROM parts") == 1


def test_a_released_request_keeps_its_tries_and_its_wish_to_be_cancelled(system: Store) -> None:
    _refused_batch(system)
    system.run("UPDATE requests SET cancel_requested = true WHERE segment = 4 AND row_index = 1")

    treated(system)

    rows = system.rows(
        "SELECT state, batch_id, attempts FROM requests WHERE segment = 4 ORDER BY row_index"
    )
    assert rows[0] == {"state": "pending", "batch_id": None, "attempts": 0}
    assert rows[1]["state"] == "cancelled"


def test_what_may_have_been_paid_is_explained_and_not_touched(system: Store) -> None:
    system.run("UPDATE requests SET state = 'batched', batch_id = 1 WHERE segment = 4")
    before = _contents(system)

    treatment = treated(system)

    assert treatment.repairs == ()
    assert "stuck_in_closed_batch" in {each.code for each in treatment.report.findings}
    assert _contents(system) == before


def test_a_flow_at_work_is_not_disturbed(system: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "_WAIT_SECONDS", 0.0)
    _lost_results(system)

    with exclusive_lock(system.directory.locks / "track.lock"):
        treatment = treated(system)

    assert "track" in treatment.repairs[0].problems[0]
    assert not results_of(system, 1).exists()


def test_newer_half_written_files_are_left_alone(system: Store) -> None:
    _leftovers(system)

    assert treat(system.ledger, patience_seconds=60).repairs == ()
    assert (system.directory.segments / ".000077.parquet.tmp").exists()


def test_a_healthy_system_is_left_as_it_is(system: Store) -> None:
    system.take_in(chat_lines(1, prefix=INSTALLATION), name="more", source_id="s7")
    before = _contents(system)

    assert treated(system).repairs == ()
    assert _contents(system) == before
