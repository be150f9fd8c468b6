import json
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from factories import Store, chat_line, chat_lines, empty, failure_line, fill, success_line

from batching.errors import BadInput, DiskFull
from storage.answer_files import OUTPUT
from storage.batch_files import output_path
from storage.jobs import cancel_job
from storage.outbox import Part, deliver_part, pending_parts, postpone_part
from storage.result_files import result_path
from storage.results import write_own_results_of_requests

KILLED_AFTER_APPENDING = """
import os, signal, sys
from pathlib import Path
from storage import outbox
from storage.directory import DataDirectory
from storage.ledger import Ledger
append = outbox._append
def killed(*arguments):
    append(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
outbox._append = killed
ledger = Ledger.open(DataDirectory(Path(sys.argv[1])))
with ledger.transaction() as reader:
    parts = outbox.pending_parts(reader, most=9)
outbox.deliver_part(ledger, parts[0])
"""


def parts(store: Store) -> list[Part]:
    with store.ledger.transaction() as reader:
        return pending_parts(reader, most=100)


def answered(store: Store, count: int = 3, *, prefix: str = "id", name: str = "job") -> None:
    """Take requests in and answer them all; nothing is delivered yet."""
    store.take_in(chat_lines(count, prefix=prefix), name=name, source_id=prefix)
    store.answer_all(store.ended())


def killed_after_appending(store: Store) -> None:
    command = [sys.executable, "-c", KILLED_AFTER_APPENDING, str(store.directory.root)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def test_there_is_exactly_one_line_for_every_request(store: Store) -> None:
    store.take_in(chat_lines(5))
    batch = store.ended()
    wires = store.wire_ids(batch)
    store.collect(batch, [success_line(wires[3]), success_line(wires[0])], [failure_line(wires[1])])
    assert store.deliver() == 1
    assert store.outbox_ids("job/results.jsonl") == ["id-0", "id-1", "id-3"]
    store.answer_all(store.ended())
    assert store.deliver() == 1
    assert store.deliver() == 0
    assert sorted(store.outbox_ids("job/results.jsonl")) == [f"id-{n}" for n in range(5)]


def test_a_line_is_the_providers_byte_for_byte_except_its_custom_id(store: Store) -> None:
    custom_id = 'it\'s "mine" \\ \U0001f642 \u2028'
    store.take_in([chat_line(custom_id)])
    batch = store.ended()
    (wire,) = store.wire_ids(batch)
    odd = (
        b'{ "id":"x",\t"custom_id" : "%b","response":{"status_code":200,"request_id":"r","body":'
        b'{"n":1e400,"n":2,"big":%b,"custom_id":"inner","text":"\\ud83d\\ude42 \xe2\x80\xa8 \\/"}}'
        b',"error":null, "more":[1.10] }'
    ) % (wire.encode(), b"9" * 30)
    store.collect(batch, [odd])
    store.deliver()
    (line,) = (store.directory.outbox / "job" / "results.jsonl").read_bytes().split(b"\n")[:-1]
    mine = json.dumps(custom_id, ensure_ascii=False).encode()
    assert line == odd.replace(b'"' + wire.encode() + b'"', mine, 1)


def test_what_a_crash_left_behind_the_last_record_is_cut_off(store: Store) -> None:
    answered(store, 3)
    store.deliver()
    answered_before = store.outbox("job/results.jsonl")
    store.take_in(chat_lines(4, prefix="more"), source_id="id", part=2)
    store.answer_all(store.ended())
    killed_after_appending(store)
    assert len(store.outbox("job/results.jsonl")) == 7
    assert len(parts(store)) == 1
    store.deliver()
    lines = store.outbox("job/results.jsonl")
    assert lines[:3] == answered_before
    assert store.outbox_ids("job/results.jsonl")[3:] == [f"more-{n}" for n in range(4)]


def test_a_crash_in_the_very_first_part_leaves_no_line_twice(store: Store) -> None:
    answered(store, 3)
    killed_after_appending(store)
    with (store.directory.outbox / "job" / "results.jsonl").open("ab") as file:
        file.write(b'{"half a li')
    store.deliver()
    assert store.outbox_ids("job/results.jsonl") == ["id-0", "id-1", "id-2"]


def test_delivering_a_part_that_was_delivered_leaves_its_record_alone(store: Store) -> None:
    answered(store)
    (part,) = parts(store)
    deliver_part(store.ledger, part)
    before = store.rows("SELECT * FROM parts")
    assert before[0]["start_offset"] == 0
    assert (
        before[0]["end_offset"] == (store.directory.outbox / "job" / "results.jsonl").stat().st_size
    )
    deliver_part(store.ledger, part)
    assert store.rows("SELECT * FROM parts") == before


def grow(store: Store, number: int) -> None:
    """Deliver two more results of the job."""
    store.take_in(chat_lines(2, prefix=f"more{number}"), source_id="id", part=number)
    store.answer_all(store.ended())
    store.deliver()


def test_a_file_that_the_user_took_away_is_followed_by_the_next(store: Store) -> None:
    answered(store)
    store.deliver()
    folder = store.directory.outbox / "job"
    (folder / "results.jsonl").rename(folder / "mine.jsonl")
    grow(store, 2)
    assert store.outbox_ids("job/results-2.jsonl") == ["more2-0", "more2-1"]
    assert not (folder / "results.jsonl").exists()
    grow(store, 3)
    assert len(store.outbox("job/results-2.jsonl")) == 4
    (folder / "results-2.jsonl").unlink()
    grow(store, 4)
    assert store.outbox_ids("job/results-3.jsonl") == ["more4-0", "more4-1"]


def test_a_file_that_the_user_cut_short_is_left_to_the_user(store: Store) -> None:
    answered(store)
    store.deliver()
    path = store.directory.outbox / "job" / "results.jsonl"
    path.write_bytes(path.read_bytes()[:10])
    grow(store, 2)
    assert path.stat().st_size == 10
    assert store.outbox_ids("job/results-2.jsonl") == ["more2-0", "more2-1"]


def test_parts_hold_the_answers_in_columns_that_other_tools_can_read(store: Store) -> None:
    store.take_in(chat_lines(2))
    batch = store.ended()
    wires = store.wire_ids(batch)
    good = success_line(wires[0], content="the answer", tokens=7)
    store.collect(batch, [good], [failure_line(wires[1])])
    store.deliver()
    frame = pl.read_parquet(store.directory.outbox / "job" / "parts" / "*.parquet")
    assert frame["custom_id"].to_list() == ["id-0", "id-1"]
    assert frame["status"].to_list() == ["succeeded", "failed"]
    assert frame["content"].to_list() == ["the answer", None]
    assert frame["input_tokens"].to_list() == [7, None]
    assert frame["finish_reason"].to_list() == ["stop", None]
    assert frame["error_code"].to_list() == [None, "invalid_value"]
    assert [line.encode() for line in frame["line"]] == store.outbox("job/results.jsonl")


def test_two_jobs_in_one_batch_are_kept_apart(store: Store) -> None:
    store.take_in(chat_lines(3), name="one", source_id="s1")
    store.take_in(chat_lines(2), name="two", source_id="s2")
    batch = store.ended()
    assert batch.requests == 5
    store.answer_all(batch)
    assert store.deliver() == 2
    assert store.outbox_ids("one/results.jsonl") == ["id-0", "id-1", "id-2"]
    assert store.outbox_ids("two/results.jsonl") == ["id-0", "id-1"]
    for name, rows in (("one", 3), ("two", 2)):
        part = pl.read_parquet(store.directory.outbox / name / "parts" / "part-000001.parquet")
        assert part.height == rows


def test_results_of_our_own_are_delivered_like_the_others(store: Store) -> None:
    store.take_in(chat_lines(2))
    cancel_job(store.ledger, "job", actor="test")
    write_own_results_of_requests(store.ledger)
    store.deliver()
    lines = [json.loads(line) for line in store.outbox("job/results.jsonl")]
    assert [line["custom_id"] for line in lines] == ["id-0", "id-1"]
    assert lines[0]["response"] is None
    assert (store.directory.outbox / "job" / "parts" / "part-own-000001.parquet").exists()


def test_the_job_that_never_ends_gets_a_folder_a_day_and_keeps_to_it_after_midnight(
    store: Store,
) -> None:
    answered(store)
    store.run("UPDATE jobs SET endless = true")
    store.run("UPDATE parts SET created_at = ?", datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    killed_after_appending(store)
    store.deliver()
    assert store.outbox_ids("job/2026-03-01/results.jsonl") == ["id-0", "id-1", "id-2"]
    assert [path.name for path in (store.directory.outbox / "job").iterdir()] == ["2026-03-01"]


def test_a_part_that_cannot_be_written_waits_and_the_others_go(store: Store) -> None:
    answered(store, 2, prefix="a", name="blocked")
    answered(store, 2, prefix="b", name="free")
    (store.directory.outbox / "blocked").write_text("a file where the folder should be")
    blocked, free = parts(store)
    with pytest.raises(BadInput, match="blocked"):
        deliver_part(store.ledger, blocked)
    postpone_part(store.ledger, blocked, problem="in the way")
    assert parts(store) == [free]
    deliver_part(store.ledger, free)
    (row,) = store.rows("SELECT attempts, problem FROM parts WHERE state = 'pending'")
    assert tuple(row.values()) == (1, "in the way")
    (store.directory.outbox / "blocked").unlink()
    store.run("UPDATE parts SET next_attempt_at = NULL")
    assert store.deliver() == 1
    assert store.outbox_ids("blocked/results.jsonl") == ["a-0", "a-1"]
    assert store.value("SELECT count(problem) FROM parts") == 0


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_results_that_cannot_be_read_are_said_and_leave_no_half_part(
    store: Store, damage: str
) -> None:
    answered(store)
    path = result_path(store.directory, 1)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2])
    (part,) = parts(store)
    with pytest.raises(BadInput, match="'job' cannot be delivered"):
        deliver_part(store.ledger, part)
    assert list((store.directory.outbox / "job" / "parts").iterdir()) == []
    path.write_bytes(whole)
    store.deliver()
    assert len(store.outbox("job/results.jsonl")) == 3


def test_a_full_disk_stops_results_and_deliveries_and_nothing_is_lost(small_disk: Path) -> None:
    store = Store.at(small_disk / "data")
    store.take_in(chat_lines(2_000))
    batch = store.ended()
    chance = random.Random(1)  # noqa: S311 - text that does not compress, no secret
    lines = [
        success_line(wire, content=chance.randbytes(1_000).hex()) for wire in store.wire_ids(batch)
    ]
    path = output_path(store.directory, batch.batch_id)
    path.parent.mkdir()
    path.write_bytes(b"\n".join(lines))
    for free_bytes in (0, 1_000_000):
        fill(small_disk, free_bytes=free_bytes)
        with pytest.raises(DiskFull):
            store.collect_files(batch, {OUTPUT: path})
    empty(small_disk)
    assert store.collect_files(batch, {OUTPUT: path}).succeeded == 2_000
    for free_bytes in (0, 1_000_000, 4_400_000):
        fill(small_disk, free_bytes=free_bytes)
        with pytest.raises(DiskFull):
            store.deliver()
    empty(small_disk)
    assert store.deliver() == 1
    assert store.outbox_ids("job/results.jsonl") == [f"id-{n}" for n in range(2_000)]


def test_results_that_this_ledger_knows_nothing_of_are_never_cut(store: Store) -> None:
    earlier = store.directory.outbox / "job" / "results.jsonl"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("results of a ledger that was lost\n")
    answered(store, 2)
    assert store.deliver() == 1
    assert earlier.read_text() == "results of a ledger that was lost\n"
    assert store.outbox_ids("job/results-2.jsonl") == ["id-0", "id-1"]
