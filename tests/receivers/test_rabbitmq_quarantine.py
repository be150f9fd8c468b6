"""Refused messages are on record, whole and durable, or there is an error."""

import base64
import json
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from consumers import filled_disk

from batching.errors import DiskFull
from storage.directory import DataDirectory
from storage.quarantine import Quarantine, RefusedMessage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(body: bytes = b"[1]", **changes: Any) -> RefusedMessage:
    known = {
        "received_at": NOON, "queue": "q", "exchange": "e", "routing_key": "k",
        "message_id": "m-1", "code": "not_an_object", "reason": "it is an array", "body": body,
    }  # fmt: skip
    return RefusedMessage(**{**known, **changes})


def records(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_record_tells_where_it_came_from_why_it_was_refused_and_what_it_was(
    directory: DataDirectory,
) -> None:
    Quarantine(directory, source="rabbitmq").write([message("grüße\n".encode())])
    assert records(directory.rejected / "rabbitmq-2026-03-01.jsonl") == [
        {
            "received_at": "2026-03-01T12:00:00Z", "queue": "q", "exchange": "e",
            "routing_key": "k", "message_id": "m-1", "code": "not_an_object",
            "reason": "it is an array", "raw": "grüße\n",
        }
    ]  # fmt: skip


def test_a_body_that_is_no_text_is_kept_in_base64(directory: DataDirectory) -> None:
    Quarantine(directory, source="rabbitmq").write([message(b"\xff\x00")])
    (record,) = records(directory.rejected / "rabbitmq-2026-03-01.jsonl")
    assert base64.b64decode(record["raw_base64"]) == b"\xff\x00"
    assert "raw" not in record


def test_a_large_file_is_continued_in_the_next_one(directory: DataDirectory) -> None:
    quarantine = Quarantine(directory, source="rabbitmq", largest_file_bytes=300)
    for number in range(6):
        quarantine.write([message(b"%d" % number)])
    names = ["rabbitmq-2026-03-01.jsonl", *(f"rabbitmq-2026-03-01-{n}.jsonl" for n in (2, 3))]
    assert sorted(path.name for path in directory.rejected.iterdir()) == sorted(names)
    kept = [record["raw"] for name in names for record in records(directory.rejected / name)]
    assert kept == ["0", "1", "2", "3", "4", "5"]


def test_nothing_is_made_for_nothing(directory: DataDirectory) -> None:
    Quarantine(directory, source="rabbitmq").write([])
    assert list(directory.rejected.iterdir()) == []


def test_what_a_killed_process_wrote_in_part_spoils_no_record(directory: DataDirectory) -> None:
    path = directory.rejected / "rabbitmq-2026-03-01.jsonl"
    quarantine = Quarantine(directory, source="rabbitmq")
    quarantine.write([message(b"first")])
    with path.open("ab") as file:
        file.write(b'{"received_at":"2026-' + b"x" * 3_000_000)
    quarantine.write([message(b"second")])
    assert [record["raw"] for record in records(path)] == ["first", "second"]


def test_a_full_disk_leaves_no_part_of_a_record(small_disk: Path) -> None:
    directory = DataDirectory(small_disk / "data")
    directory.create()
    quarantine = Quarantine(directory, source="rabbitmq")
    quarantine.write([message(b"first")])
    with filled_disk(small_disk, free_bytes=65_536), pytest.raises(DiskFull):
        quarantine.write([message(b"x" * 1_000_000)])
    quarantine.write([message(b"second")])
    path = directory.rejected / "rabbitmq-2026-03-01.jsonl"
    assert [record["raw"] for record in records(path)] == ["first", "second"]


def test_two_processes_may_write_to_the_same_file(directory: DataDirectory) -> None:
    context = get_context("spawn")
    writers = [context.Process(target=_write_often, args=(directory, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    kept = records(directory.rejected / "rabbitmq-2026-03-01.jsonl")
    assert sorted({record["message_id"] for record in kept}) == ["a", "b"]
    assert len(kept) == 200


def _write_often(directory: DataDirectory, name: str) -> None:
    quarantine = Quarantine(directory, source="rabbitmq")
    for _ in range(100):
        quarantine.write([message(b"x" * 500, message_id=name)])
