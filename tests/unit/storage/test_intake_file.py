import gzip
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from xxhash import xxh3_64_intdigest

from batching.destinations import Reach
from batching.errors import BadInput, StopRequested
from batching.jobs import JobSettings
from batching.line_faults import Refusal, RefusalCode
from batching.requests import ReadingRules
from batching.settings import Settings
from batching.stopping import stop_signal
from storage import intake_file, segments
from storage.directory import DataDirectory
from storage.intake_file import TakenIn, take_in
from storage.segment_reading import read_all
from storage.segments import RowRange
from storage.source_bytes import content_hash
from storage.staging import ClaimedFile, claim

ACCEPTED_AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)


def chat(custom_id: str, body: bytes = b'{"model":"m","messages":["x"]}') -> bytes:
    return b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}' % (
        custom_id.encode(),
        body,
    )


def dropped(directory: DataDirectory, content: bytes, name: str = "x.jsonl") -> ClaimedFile:
    path = directory.inbox / name
    path.write_bytes(content)
    claimed = claim(directory, path)
    assert claimed is not None
    return claimed


def taken(
    directory: DataDirectory, claimed: ClaimedFile, settings: Settings, **changes: Any
) -> TakenIn:
    arguments = {"job": "j", "first_segment": 5, "accepted_at": ACCEPTED_AT, **changes}
    rules = ReadingRules.of(settings, reach=Reach())
    return take_in(directory, claimed, rules=rules, **arguments)


def rows_of(result: TakenIn) -> list[dict[str, Any]]:
    return [
        row
        for segment in result.segments
        for table in read_all(segment.path)
        for row in table.to_pylist()
    ]


def rejected_records(result: TakenIn) -> list[dict[str, Any]]:
    path = result.rejected_lines.publish()
    return [] if path is None else [json.loads(line) for line in path.read_bytes().splitlines()]


def leftovers(directory: DataDirectory) -> list[str]:
    return [
        path.name
        for folder in (directory.segments, directory.rejected)
        for path in folder.iterdir()
    ]


def test_good_lines_go_to_segments_and_bad_ones_to_the_rejected_file(
    directory: DataDirectory, settings: Settings
) -> None:
    lines = [chat("a"), b"not json", b"", b"  \r", chat("b") + b"\r", b"\xff", chat("c")]
    claimed = dropped(directory, b"\xef\xbb\xbf" + b"\n".join(lines))
    result = taken(directory, claimed, settings)
    rows = rows_of(result)
    assert [(row["line"], row["custom_id"], row["job"]) for row in rows] == [
        (1, "a", "j"),
        (5, "b", "j"),
        (7, "c", "j"),
    ]
    assert (result.accepted, result.rejected, result.lines_read) == (3, 2, 7)
    assert result.bytes_read == claimed.path.stat().st_size
    assert result.content_hash == content_hash(claimed.path)
    assert result.ranges == (RowRange(segment=5, first_row=0, rows=3),)
    assert result.id_hashes.tolist() == [xxh3_64_intdigest(name) for name in (b"a", b"b", b"c")]
    assert [(line["line"], line["code"]) for line in rejected_records(result)] == [
        (2, "not_json"),
        (6, "invalid_utf8"),
    ]


def test_bodies_reach_the_segment_byte_for_byte(
    directory: DataDirectory, settings: Settings
) -> None:
    bodies = [
        b'{"model":"m","messages":["x"],"a":1,"a":2}',
        b'{"model":"m","messages":["x"],"a":1e400}',
        b'{"model":"m","messages":["x"],"a":123456789012345678901234567890}',
        '{"model":"m","messages":["\u2028😀\u0085"]}'.encode(),
        b'{"model":"m","messages":["' + b"x" * 10_000_000 + b'"]}',
        b'{ "model":"m"  ,"messages":[ 0.10, 1.0E+2 ] }',
    ]
    lines = [chat(str(number), body) for number, body in enumerate(bodies)]
    result = taken(directory, dropped(directory, b"\r\n".join(lines)), settings)
    assert [row["body"] for row in rows_of(result)] == bodies


def test_repeated_ids_can_be_added_before_the_rejected_file_is_published(
    directory: DataDirectory, settings: Settings
) -> None:
    result = taken(directory, dropped(directory, chat("a") + b"\n" + b"bad\n"), settings)
    assert not list(directory.rejected.glob("*.jsonl"))
    refusal = Refusal(code=RefusalCode.DUPLICATE_CUSTOM_ID, reason="seen before")
    result.rejected_lines.add(1, refusal, chat("a"))
    assert [line["code"] for line in rejected_records(result)] == [
        "not_json",
        "duplicate_custom_id",
    ]
    assert len(list(directory.rejected.glob("*__x.jsonl.jsonl"))) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.jsonl.zst"])
def test_an_empty_file_is_refused_as_a_whole(
    directory: DataDirectory, settings: Settings, content: bytes, name: str
) -> None:
    with pytest.raises(BadInput):
        taken(directory, dropped(directory, content, name), settings)
    assert leftovers(directory) == []


def test_a_file_of_bad_lines_only_is_not_empty(
    directory: DataDirectory, settings: Settings
) -> None:
    result = taken(directory, dropped(directory, b"bad\n"), settings)
    assert (result.accepted, result.rejected, result.segments) == (0, 1, ())
    assert len(rejected_records(result)) == 1


def test_a_growth_is_taken_in_alone_with_the_numbers_that_follow(
    directory: DataDirectory, settings: Settings
) -> None:
    claimed = dropped(directory, chat("a") + b"\n" + b"bad\n")
    first = taken(directory, claimed, settings)
    first.rejected_lines.publish()
    with claimed.path.open("ab") as file:
        file.write(chat("b") + b"\nworse\n")
    growth = taken(
        directory,
        claimed,
        settings,
        first_segment=6,
        start_offset=first.bytes_read,
        first_line=first.lines_read + 1,
        part=2,
    )
    assert [(row["line"], row["custom_id"]) for row in rows_of(growth)] == [(3, "b")]
    assert [line["line"] for line in rejected_records(growth)] == [4]
    assert growth.content_hash == content_hash(claimed.path)
    assert len(list(directory.rejected.glob("*.jsonl"))) == 2


def test_a_growth_that_ends_a_begun_line_keeps_its_number(
    directory: DataDirectory, settings: Settings
) -> None:
    claimed = dropped(directory, chat("a") + b"\n" + chat("b"))
    first = taken(directory, claimed, settings)
    with claimed.path.open("ab") as file:
        file.write(b"\n" + chat("c") + b"\n")
    growth = taken(
        directory,
        claimed,
        settings,
        first_segment=6,
        start_offset=first.bytes_read,
        first_line=first.lines_read + 1,
    )
    assert [(row["line"], row["custom_id"]) for row in rows_of(growth)] == [(3, "c")]


def test_a_growth_of_nothing_is_no_error(directory: DataDirectory, settings: Settings) -> None:
    claimed = dropped(directory, chat("a") + b"\n")
    size = claimed.path.stat().st_size
    result = taken(directory, claimed, settings, start_offset=size, first_line=2)
    assert (result.accepted, result.rejected, result.bytes_read) == (0, 0, size)


def test_a_file_found_bad_at_its_end_leaves_nothing_behind(
    directory: DataDirectory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "ROWS_A_GROUP", 100)
    text = b"".join(chat(str(number)) + b"\nbad\n" for number in range(50_000))
    claimed = dropped(directory, gzip.compress(text)[:-20], "x.jsonl.gz")
    with pytest.raises(BadInput, match="cut off"):
        taken(directory, claimed, settings)
    assert leftovers(directory) == []
    assert claimed.path.exists()


def test_a_stop_is_obeyed_between_chunks_and_leaves_nothing_behind(
    directory: DataDirectory, settings: Settings
) -> None:
    stop = threading.Event()
    stop.set()
    claimed = dropped(directory, chat("a"))
    with stop_signal(stop), pytest.raises(StopRequested):
        taken(directory, claimed, settings)
    assert leftovers(directory) == []
    assert taken(directory, claimed, settings).accepted == 1


def test_what_a_killed_process_left_does_not_disturb_the_next_try(
    directory: DataDirectory, settings: Settings
) -> None:
    claimed = dropped(directory, b"".join(chat(str(n)) + b"\nbad\n" for n in range(30_000)))
    program = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from batching.requests import ReadingRules
from storage import intake_file
from storage.directory import DataDirectory
from storage.staging import claimed_sources
chunks = iter(range(4))
intake_file.check_stop = lambda: next(chunks, None) is None and os.kill(os.getpid(), 9)
directory = DataDirectory(Path(sys.argv[1]))
(claimed,) = claimed_sources(directory)
intake_file.take_in(directory, claimed, job="j", first_segment=5,
    rules=ReadingRules(), accepted_at=datetime.now(UTC))
"""
    killed = subprocess.run([sys.executable, "-c", program, directory.root], check=False)
    assert killed.returncode == -9
    assert leftovers(directory)
    assert not list(directory.segments.glob("*.parquet"))
    result = taken(directory, claimed, settings)
    assert (result.accepted, result.rejected) == (30_000, 30_000)
    assert len(rejected_records(result)) == 30_000
    assert sorted(leftovers(directory)) == sorted(["000005.parquet", f"{claimed.path.name}.jsonl"])


def test_a_table_uses_the_settings_of_its_job(directory: DataDirectory, settings: Settings) -> None:
    claimed = dropped(directory, b"custom_id,prompt\na,Hi\n,there\n", "x.csv")
    job_settings = JobSettings(url="/v1/embeddings", model="m")
    result = taken(directory, claimed, settings, job_settings=job_settings)
    assert [(row["line"], row["body"]) for row in rows_of(result)] == [
        (2, b'{"model": "m", "input": "Hi"}')
    ]
    assert [line["line"] for line in rejected_records(result)] == [3]


def test_many_lines_rotate_segments_and_the_ranges_cover_every_row(
    directory: DataDirectory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SmallSegments(segments.SegmentWriter):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named, rows_a_segment=20_000)

    monkeypatch.setattr(intake_file, "SegmentWriter", SmallSegments)
    text = b"".join(chat(str(number)) + b"\n" for number in range(50_000))
    result = taken(directory, dropped(directory, text), settings)
    assert sum(place.rows for place in result.ranges) == result.accepted == 50_000
    for place, segment in zip(result.ranges, result.segments, strict=True):
        assert (place.segment, place.first_row, place.rows) == (segment.number, 0, segment.rows)
        assert pq.read_metadata(segment.path).num_rows == segment.rows
    assert [row["custom_id"] for row in rows_of(result)] == [str(n) for n in range(50_000)]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    program = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from batching.requests import ReadingRules
from storage.directory import DataDirectory
from storage.intake_file import take_in
from storage.staging import claim
directory = DataDirectory(Path(sys.argv[1]))
directory.create()
body = '{"model":"m","messages":[{"role":"user","content":"%s"}]}' % ("word " * 180)
with (directory.inbox / "x.jsonl").open("w") as file:
    for number in range(int(sys.argv[2])):
        file.write('{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%s}\\n'
            % (number, body))
result = take_in(directory, claim(directory, directory.inbox / "x.jsonl"), job="j",
    first_segment=1, rules=ReadingRules(), accepted_at=datetime.now(UTC))
assert result.accepted == int(sys.argv[2])
assert "pandas" not in sys.modules, "pandas takes 60 MB and 0.3 s"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

    def peak(lines: int) -> int:
        folder = tmp_path / str(lines)
        arguments = [sys.executable, "-c", program, str(folder), str(lines)]
        return int(subprocess.run(arguments, check=True, capture_output=True).stdout)

    assert peak(100_000) < 1.2 * peak(20_000)
