import gzip
import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batching.errors import BadInput
from batching.line_faults import Refusal, RefusalCode
from storage import staging
from storage.directory import DataDirectory
from storage.rejected_lines import RejectedWriter
from storage.staging import (
    ClaimedFile,
    archive,
    claim,
    claimable_files,
    claimed_sources,
    discard,
    holds_unclaimed_files,
    put_back_side_files,
    read_side_file,
    reject_whole,
)

STABLE = 2.0


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


def drop(
    directory: DataDirectory, name: str, content: bytes = b"{}\n", *, age_seconds: float = 5
) -> Path:
    path = directory.inbox / name
    path.write_bytes(content)
    os.utime(path, times=(time.time() - age_seconds,) * 2)
    return path


def claimable(directory: DataDirectory, *, closing_now: bool = False) -> list[str]:
    found = claimable_files(directory, stable_seconds=STABLE, closing_now=closing_now)
    return [path.name for path in found]


def claimed(directory: DataDirectory, path: Path) -> ClaimedFile:
    found = claim(directory, path)
    assert found is not None
    return found


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_complete_once_it_stood_still(directory: DataDirectory) -> None:
    drop(directory, "fresh.jsonl", age_seconds=0)
    drop(directory, "young.jsonl", age_seconds=3)
    drop(directory, "old.csv", b"a,b\n", age_seconds=9)
    assert claimable(directory) == ["old.csv", "young.jsonl"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", b'{"half":'),
        ("x.jsonl", b""),
        ("x.csv", b"a,b\n1"),
        ("x.jsonl.gz", gzip.compress(b"{}\n" * 100)[:-4]),
        ("x.jsonl.zst", b"\x28\xb5\x2f\xfd"),
        ("x.parquet", b"PAR1..."),
    ],
)
def test_a_file_without_its_end_is_waited_for_ten_times_as_long(
    directory: DataDirectory, name: str, content: bytes
) -> None:
    drop(directory, name, content, age_seconds=19)
    assert claimable(directory) == []
    drop(directory, name, content, age_seconds=21)
    assert claimable(directory) == [name]


def test_a_file_that_gets_its_end_is_taken_at_once(directory: DataDirectory) -> None:
    drop(directory, "x.jsonl.gz", gzip.compress(b"{}\n" * 100)[:-4])
    assert claimable(directory) == []
    drop(directory, "x.jsonl.gz", gzip.compress(b"{}\n" * 100))
    assert claimable(directory) == ["x.jsonl.gz"]


@pytest.mark.parametrize("closing_now", [True, False])
def test_unfinished_names_side_files_and_folders_are_never_taken(
    directory: DataDirectory,
    closing_now: bool,  # noqa: FBT001 - both cases of the test
) -> None:
    for name in ("x.jsonl.part", "x.jsonl.tmp", "X.PART", ".x.jsonl", "x.job.json"):
        drop(directory, name, age_seconds=1_000)
    (directory.inbox / "folder.jsonl").mkdir()
    (directory.inbox / "gone.jsonl").symlink_to("nowhere")
    assert claimable(directory, closing_now=closing_now) == []


def test_closing_now_takes_what_ends_well_and_waits_for_the_rest(
    directory: DataDirectory,
) -> None:
    drop(directory, "half.jsonl", b'{"half":', age_seconds=0)
    drop(directory, "whole.jsonl", b'{"whole":1}\n', age_seconds=0)
    drop(directory, "notes.txt", age_seconds=1)
    assert claimable(directory, closing_now=True) == ["notes.txt", "whole.jsonl"]
    assert holds_unclaimed_files(directory)


def test_a_file_from_the_future_is_judged_by_when_it_came(directory: DataDirectory) -> None:
    drop(directory, "x.jsonl", age_seconds=-86_400)
    assert claimable(directory) == []
    assert [path.name for path in claimable_files(directory, stable_seconds=0)] == ["x.jsonl"]


def test_claiming_moves_the_file_and_its_side_file(directory: DataDirectory) -> None:
    path = drop(directory, "Batch 1.jsonl.gz")
    drop(directory, "Batch 1.job.json", b'{"label":"L"}')
    drop(directory, "other.job.json", b"{}")
    source = claimed(directory, path)
    assert re.fullmatch(r"\d{8}T\d{9}-[0-9a-f]{4}", source.source_id)
    assert source.name == "Batch 1.jsonl.gz"
    assert names_in(directory.inbox) == ["other.job.json"]
    assert names_in(directory.claimed) == [
        f"{source.source_id}__Batch 1.job.json",
        f"{source.source_id}__Batch 1.jsonl.gz",
    ]
    assert claimed_sources(directory) == [source]
    assert read_side_file(source).label == "L"


def test_a_source_without_side_file_has_the_default_settings(directory: DataDirectory) -> None:
    source = claimed(directory, drop(directory, "x.jsonl"))
    assert source.side_file is None
    assert read_side_file(source).label is None


def test_a_faulty_side_file_is_a_clear_error(directory: DataDirectory) -> None:
    drop(directory, "x.job.json", b'{"lable":1}')
    source = claimed(directory, drop(directory, "x.jsonl"))
    with pytest.raises(BadInput, match="lable"):
        read_side_file(source)


def test_source_ids_sort_by_time_and_never_repeat_in_whatever_millisecond(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime(2026, 11, 23, 12, 0, 0, 999_500, tzinfo=UTC)
    monkeypatch.setattr(staging, "now", lambda: moment)
    ids = [claimed(directory, drop(directory, f"{number}.jsonl")).source_id for number in range(20)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 20
    assert [source.source_id for source in claimed_sources(directory)] == ids


def test_a_file_that_has_gone_away_is_not_claimed(directory: DataDirectory) -> None:
    drop(directory, "x.job.json", b"{}")
    assert claim(directory, directory.inbox / "x.jsonl") is None
    assert names_in(directory.inbox) == ["x.job.json"]
    assert names_in(directory.claimed) == []


def test_a_crash_between_side_file_and_source_is_recovered(directory: DataDirectory) -> None:
    path = drop(directory, "x.jsonl")
    orphan = directory.claimed / "20261123T063240123-abcd__x.job.json"
    orphan.write_bytes(b'{"label":"L"}')
    assert claimed_sources(directory) == []
    assert put_back_side_files(directory) == 1
    assert put_back_side_files(directory) == 0
    assert read_side_file(claimed(directory, path)).label == "L"


def test_side_files_of_claimed_sources_stay(directory: DataDirectory) -> None:
    drop(directory, "x.job.json", b"{}")
    source = claimed(directory, drop(directory, "x.jsonl"))
    assert put_back_side_files(directory) == 0
    assert claimed_sources(directory) == [source]


def test_names_that_are_long_or_odd_are_kept_within_bounds(directory: DataDirectory) -> None:
    long = drop(directory, "ü" * 120 + ".jsonl.gz")
    odd = Path(os.fsdecode(bytes(directory.inbox) + b"/a\xff\nb.jsonl"))
    odd.write_bytes(b"{}\n")
    for path in (long, odd):
        source = claimed(directory, path)
        source.name.encode()
        assert source.name.isprintable()
        assert source.name.endswith((".jsonl.gz", ".jsonl"))
        assert source in claimed_sources(directory)
        reject_whole(directory, source, "why")
    assert all(len(os.fsencode(name)) < 240 for name in names_in(directory.rejected))


def test_a_source_taken_in_goes_to_the_archive_with_its_side_file(
    directory: DataDirectory,
) -> None:
    drop(directory, "x.job.json", b"{}")
    source = claimed(directory, drop(directory, "x.jsonl", b"content\n"))
    assert archive(directory, source).read_bytes() == b"content\n"
    assert len(names_in(directory.archive)) == 2
    assert names_in(directory.claimed) == []
    archive(directory, source)
    assert len(names_in(directory.archive)) == 2


def test_a_source_that_nobody_wants_back_is_deleted(directory: DataDirectory) -> None:
    drop(directory, "x.job.json", b"{}")
    source = claimed(directory, drop(directory, "x.jsonl"))
    discard(source)
    discard(source)
    assert names_in(directory.claimed) == names_in(directory.archive) == []


def test_a_source_rejected_whole_is_kept_with_its_reason(directory: DataDirectory) -> None:
    source = claimed(directory, drop(directory, "x.parquet", b"junk"))
    kept = reject_whole(directory, source, "it is damaged")
    assert kept.read_bytes() == b"junk"
    explanation = json.loads(kept.with_name(kept.name + ".reason.json").read_text())
    assert explanation["file"] == "x.parquet"
    assert explanation["reason"] == "it is damaged"
    assert claimed_sources(directory) == []


def test_refused_lines_are_published_with_number_reason_and_text(tmp_path: Path) -> None:
    rejected = RejectedWriter(tmp_path / "x.jsonl")
    refusal = Refusal(code=RefusalCode.NOT_JSON, reason="why")
    rejected.add(3, refusal, 'ü\u2028 \\ "\r'.encode())
    rejected.add(9, refusal, b"\xff\x00")
    assert not rejected.path.exists()
    assert rejected.publish() == rejected.path
    assert [json.loads(line) for line in rejected.path.read_bytes().splitlines()] == [
        {"line": 3, "code": "not_json", "reason": "why", "raw": 'ü\u2028 \\ "'},
        {"line": 9, "code": "not_json", "reason": "why", "raw_base64": "/wA="},
    ]
    assert names_in(tmp_path) == ["x.jsonl"]


def test_without_refused_lines_no_file_is_made(tmp_path: Path) -> None:
    rejected = RejectedWriter(tmp_path / "x.jsonl")
    assert rejected.publish() is None
    assert names_in(tmp_path) == []


def test_discarded_lines_and_those_of_a_crash_disappear(tmp_path: Path) -> None:
    refusal = Refusal(code=RefusalCode.NOT_JSON, reason="why")
    crashed = RejectedWriter(tmp_path / "x.jsonl")
    crashed.add(1, refusal, b"x")
    assert len(names_in(tmp_path)) == 1
    again = RejectedWriter(tmp_path / "x.jsonl")
    assert names_in(tmp_path) == []
    again.add(2, refusal, b"y")
    again.discard()
    assert names_in(tmp_path) == []
    crashed.discard()
