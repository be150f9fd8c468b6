"""One planted fault of the files per invariant, and what is no fault of them."""

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ailing import codes, diagnosed, finding, old, results_of
from factories import Store, chat_lines, read_lines, write_segments

from batching.errors import ConfigurationError
from storage.batch_files import batch_folder
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.segments import segment_path


def _other_file(system: Store) -> tuple[str, str]:
    segment_path(system.directory.segments, 4).unlink()
    return "segment_missing", "segment 4"


def _cut_segment(system: Store) -> tuple[str, str]:
    path = segment_path(system.directory.segments, 4)
    os.truncate(path, path.stat().st_size - 4)
    return "segment_missing", "segment 4"


def _longer_segment(system: Store) -> tuple[str, str]:
    path = segment_path(system.directory.segments, 4)
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table]), path)
    return "segment_changed", "segment 4"


def _lost_results(system: Store) -> tuple[str, str]:
    results_of(system, 1).unlink()
    return "result_file_missing", "result 1"


def _short_results(system: Store) -> tuple[str, str]:
    path = results_of(system, 1)
    pl.read_parquet(path).filter(pl.col("row_index") != 3).write_parquet(path)
    return "result_without_line", "cafe0123-1-3 id-3"


def _doubled_results(system: Store) -> tuple[str, str]:
    path = results_of(system, 1)
    rows = pl.read_parquet(path)
    pl.concat([rows[:-1], rows[:1]]).write_parquet(path)
    return "result_file_changed", "result 1"


def _swapped_answers(system: Store) -> tuple[str, str]:
    path = results_of(system, 1)
    rows = pl.read_parquet(path)
    rows.with_columns(pl.col("line").reverse()).write_parquet(path)
    return "result_of_another_request", "cafe0123-1-0 id-0"


def _edited_outbox(system: Store) -> tuple[str, str]:
    path = system.directory.outbox / "job" / "results.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id-2"', b'"id-1"'))
    return "outbox_changed", "part 1"


def _joined_outbox_lines(system: Store) -> tuple[str, str]:
    path = system.directory.outbox / "job" / "results.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b" ", 1))
    return "outbox_lines", "job/results.jsonl part 1"


def _cut_outbox(system: Store) -> tuple[str, str]:
    os.truncate(system.directory.outbox / "job" / "results.jsonl", 10)
    return "outbox_cut", "job/results.jsonl"


def _lost_manifest(system: Store) -> tuple[str, str]:
    (batch_folder(system.directory, 3) / "manifest.parquet").unlink()
    return "manifest", "3"


def _unknown_segment(system: Store) -> tuple[str, str]:
    from factories import read_lines  # noqa: PLC0415 - of this case only

    write_segments(system.directory, read_lines(chat_lines(2)), first_segment=9, source_id="s9")
    return "orphan_segment", "segments/000009.parquet"


def _unknown_result(system: Store) -> tuple[str, str]:
    old(system.directory.results / "000009.parquet")
    return "orphan_result", "results/000009.parquet"


def _unknown_batch(system: Store) -> tuple[str, str]:
    old(batch_folder(system.directory, 9) / "input.jsonl")
    return "orphan_batch_folder", "batches/000009"


def _unknown_claim(system: Store) -> tuple[str, str]:
    old(system.directory.claimed / "job.jsonl")
    return "orphan_claimed", "staging/claimed/job.jsonl"


def _leftover(system: Store) -> tuple[str, str]:
    old(system.directory.results / ".000009.parquet.tmp")
    return "orphan_temporary", "results/.000009.parquet.tmp"


@pytest.mark.parametrize(
    "damage",
    [
        _other_file, _cut_segment, _longer_segment, _lost_results, _short_results,
        _doubled_results, _swapped_answers, _edited_outbox, _joined_outbox_lines, _cut_outbox,
        _lost_manifest, _unknown_segment, _unknown_result, _unknown_batch, _unknown_claim,
        _leftover,
    ],
)  # fmt: skip
def test_a_planted_fault_of_the_files_is_named_with_its_id(
    system: Store, damage: Callable[[Store], tuple[str, str]]
) -> None:
    code, name = damage(system)

    assert name in finding(system, code).ids


def test_files_that_are_newer_than_the_patience_are_work_in_progress(system: Store) -> None:
    _unknown_segment(system)

    assert "orphan_segment" in codes(system)
    assert examine(system.directory, patience_seconds=60).findings == ()


def test_a_segment_whose_source_is_taken_in_again_has_an_owner(system: Store) -> None:
    source_id = "20260101T000000000-cafe"
    write_segments(
        system.directory, read_lines(chat_lines(2)), first_segment=9, source_id=source_id
    )
    old(system.directory.claimed / f"{source_id}__job.jsonl")

    assert codes(system) == []


def test_a_file_that_its_user_took_away_is_no_fault(system: Store) -> None:
    (system.directory.outbox / "job" / "results.jsonl").rename(system.directory.root / "mine")

    report = diagnosed(system)

    assert report.findings == ()
    assert len(report.notes) == 1


def test_a_line_behind_the_recorded_end_comes_from_a_crash_and_is_no_fault(system: Store) -> None:
    with (system.directory.outbox / "job" / "results.jsonl").open("ab") as file:
        file.write(b'{"half": "a li')

    assert codes(system) == []


def test_a_folder_in_which_nothing_was_taken_in_is_healthy(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()

    report = examine(directory)

    assert report.is_healthy
    assert report.notes == ("nothing was taken in yet",)


def test_a_lost_ledger_is_told_from_a_new_folder(system: Store) -> None:
    system.directory.ledger.unlink()

    with pytest.raises(ConfigurationError, match=r"is gone.*do not start anything.*backups"):
        diagnosed(system)


@pytest.mark.parametrize("start", [0, 4096, 300_000])
def test_a_damaged_ledger_ends_with_what_to_do(system: Store, start: int) -> None:
    content = bytearray(system.directory.ledger.read_bytes())
    content[start : start + 400_000] = b"\xff" * len(content[start : start + 400_000])
    system.directory.ledger.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"cannot be read.*backups"):
        diagnosed(system)
