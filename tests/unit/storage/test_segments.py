import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from batching.errors import DiskFull
from batching.requests import ReadRequest
from storage import segments as segments_module
from storage.durable import temporary_path
from storage.segment_reading import read_all, read_rows, segment_metadata
from storage.segments import RowRange, SegmentWriter, segment_path

ACCEPTED_AT = datetime(2026, 11, 23, 6, 32, 40, 123456, tzinfo=UTC)


def request(number: int, body: bytes = b'{"a":1e400}') -> ReadRequest:
    return ReadRequest(
        custom_id=f"id-{number}",
        url="/v1/embeddings",
        model="m",
        body=body,
        delivery_config=None if number % 2 else '{"type":"file"}',
        wire_bytes=100 + number,
        tokens=number,
        output_tokens=7,
        embedding_inputs=1,
        id_hash=2**64 - 1 - number,
        payload_hash=number,
    )


def writer(folder: Path, **bounds: Any) -> SegmentWriter:
    return SegmentWriter(
        folder, first_segment=3, accepted_at=ACCEPTED_AT, source_ids=["s1", "s2"], **bounds
    )


def add(segments: SegmentWriter, first: int, count: int, body: bytes = b"{}") -> RowRange:
    numbers = range(first, first + count)
    return segments.add("job", numbers, [request(number, body) for number in numbers])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_column_comes_back_as_it_was_given(tmp_path: Path) -> None:
    with writer(tmp_path) as segments:
        segments.add("job ü", [9], [request(4, b'{"model":"\xe2\x80\xa8", "x": 1e400}')])
        (written,) = segments.finish()
    (table,) = read_all(written.path)
    assert table.to_pylist() == [
        {
            "job": "job ü",
            "line": 9,
            "custom_id": "id-4",
            "url": "/v1/embeddings",
            "model": "m",
            "body": b'{"model":"\xe2\x80\xa8", "x": 1e400}',
            "delivery_config": '{"type":"file"}',
            "wire_bytes": 104,
            "tokens": 4,
            "output_tokens": 7,
            "embedding_inputs": 1,
            "id_hash": 2**64 - 5,
            "payload_hash": 4,
            "accepted_at": ACCEPTED_AT,
        }
    ]
    assert (written.number, written.rows, written.path) == (3, 1, tmp_path / "000003.parquet")
    assert written.bytes == written.path.stat().st_size
    rows, metadata = segment_metadata(written.path)
    assert rows == 1
    assert metadata == {"obm.segment_format": "1", "obm.source_ids": "s1,s2"}


def test_segments_rotate_by_rows_and_say_where_each_row_lies(tmp_path: Path) -> None:
    with writer(tmp_path, rows_a_segment=250) as segments:
        places = [add(segments, first, 100) for first in range(0, 700, 100)]
        written = segments.finish()
    assert [(place.segment, place.first_row) for place in places] == [
        (3, 0), (3, 100), (3, 200), (4, 0), (4, 100), (4, 200), (5, 0),
    ]  # fmt: skip
    assert [(segment.number, segment.rows) for segment in written] == [(3, 300), (4, 300), (5, 100)]
    (table,) = read_all(segment_path(tmp_path, 4))
    assert table.column("line").to_pylist() == list(range(300, 600))


def test_segments_rotate_by_body_bytes(tmp_path: Path) -> None:
    with writer(tmp_path, body_bytes_a_segment=1_500) as segments:
        for first in range(4):
            add(segments, first, 1, b"x" * 1_000)
        assert [segment.rows for segment in segments.finish()] == [2, 2]


def test_row_groups_are_bounded_by_rows_and_by_bytes(tmp_path: Path) -> None:
    with writer(tmp_path) as segments:
        for first in range(0, 12_000, 1_000):
            add(segments, first, 1_000)
        for first in range(12_000, 12_005):
            add(segments, first, 1, b"x" * 3_000_000)
        (written,) = segments.finish()
    metadata = pq.read_metadata(written.path)
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert groups == [10_000, 2_002, 2, 1]


def test_nothing_has_its_name_before_all_is_written(tmp_path: Path) -> None:
    with writer(tmp_path, rows_a_segment=10) as segments:
        add(segments, 0, 10)
        add(segments, 10, 10)
        assert not list(tmp_path.glob("*.parquet"))
        segments.finish()
    assert names_in(tmp_path) == ["000003.parquet", "000004.parquet"]


def test_leaving_early_takes_everything_away(tmp_path: Path) -> None:
    with writer(tmp_path, rows_a_segment=10) as segments:
        add(segments, 0, 10)
        add(segments, 10, 5)
    assert names_in(tmp_path) == []


def test_without_rows_no_segment_is_made(tmp_path: Path) -> None:
    with writer(tmp_path) as segments:
        segments.add("job", [], [])
        assert segments.finish() == ()
    assert names_in(tmp_path) == []


def test_what_a_crash_left_is_overwritten(tmp_path: Path) -> None:
    temporary_path(segment_path(tmp_path, 3)).write_bytes(b"half a segment")
    with writer(tmp_path) as segments:
        add(segments, 0, 2)
        (written,) = segments.finish()
    assert segment_metadata(written.path)[0] == 2
    assert names_in(tmp_path) == ["000003.parquet"]


def write_thirty_megabytes(folder: Path) -> None:
    with writer(folder) as segments:
        for first in range(30):
            add(segments, first, 1, os.urandom(1_000_000))
        segments.finish()


def test_a_full_disk_reaches_the_caller_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "temporary_path", lambda path: path.with_name("full"))
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(DiskFull):
        write_thirty_megabytes(tmp_path)
    assert names_in(tmp_path) == []


@pytest.fixture(scope="module")
def big_segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments")
    with writer(folder) as segments:
        for first in range(0, 25_000, 1_000):
            add(segments, first, 1_000)
        (written,) = segments.finish()
    return written.path


@pytest.mark.parametrize(
    "rows",
    [
        [0],
        [24_999],
        [5, 9_999, 10_000, 10_001, 24_998],
        list(range(9_990, 10_010)),
        list(range(25_000)),
        list(range(0, 25_000, 7)),
        [],
    ],
)
def test_any_ascending_rows_are_read_back_in_order(big_segment: Path, rows: list[int]) -> None:
    for given in (rows, pl.Series(rows, dtype=pl.Int64).to_numpy(), pl.Series(rows).to_arrow()):
        tables = list(read_rows(big_segment, given, ["custom_id", "line"]))
        assert [line for table in tables for line in table["line"].to_pylist()] == rows
        assert all(table.column_names == ["custom_id", "line"] for table in tables)
        assert len(tables) <= 3


def test_a_row_beyond_the_segment_is_an_error(big_segment: Path) -> None:
    with pytest.raises(IndexError, match="25000"):
        list(read_rows(big_segment, [24_999, 25_000]))
