import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from factories import Store, chat_line, chat_lines, empty, fill

from batching.errors import DiskFull
from batching.requests import ReadingRules
from storage.intake_log import IntakeLog
from storage.ledger import Ledger, now
from storage.log_files import LogFile, logs_in
from storage.log_intake import TakenLogs, one_pass, take_in_logs
from storage.log_recording import (
    RecordedLogs,
    forget_unrecorded_segments_of,
    record_logs,
    recorded_logs,
)
from storage.received_lines import received_line
from storage.sources import next_segment


def receive(store: Store, lines: Sequence[bytes]) -> LogFile:
    log = IntakeLog(store.directory, role="web", seal_seconds=5, seal_bytes=1_000_000)
    log.write([received_line("default", now(), line) for line in lines])
    log.close()
    return logs_in(store.directory.inbox)[-1]


def take(store: Store, logs: Sequence[LogFile]) -> TakenLogs:
    return take_in_logs(
        store.directory,
        logs,
        rules=ReadingRules(),
        first_segment=next_segment(store.ledger, store.directory.segments),
    )


def record(store: Store, taken: TakenLogs) -> RecordedLogs:
    for rejected in taken.rejected_lines:
        rejected.publish()
    return record_logs(store.ledger, taken, account=store.account)


def test_each_log_is_recorded_with_what_came_of_it(store: Store) -> None:
    logs = [receive(store, chat_lines(count, prefix=f"p{count}")) for count in (3, 1)]

    recorded = record(store, take(store, logs))

    assert recorded == RecordedLogs(accepted=4, conflicts=0, repeated=0, rejected=0)
    assert recorded_logs(store.ledger, logs) == {log.source_id for log in logs}
    rows = store.rows("SELECT name, accepted, end_line, end_offset FROM sources ORDER BY name")
    assert [(row["accepted"], row["end_line"]) for row in rows] == [(3, 3), (1, 1)]
    assert [row["end_offset"] for row in rows] == [log.path.stat().st_size for log in logs]


def test_a_log_that_went_away_is_left_out_of_the_pass(store: Store) -> None:
    gone, there = receive(store, [chat_line("gone")]), receive(store, [chat_line("there")])
    assert one_pass([gone, there]) == [gone, there]
    gone.path.unlink()

    assert one_pass([gone, there]) == [there]
    taken = take(store, [gone, there])
    record(store, taken)

    assert [log.log for log in taken.logs] == [there]
    assert recorded_logs(store.ledger, [gone, there]) == {there.source_id}


def test_a_log_of_which_no_line_can_be_read_is_recorded_too(store: Store) -> None:
    log = receive(store, [chat_line("a")])
    log.path.write_bytes(b"\0" * 500 + b"\n")

    taken = take(store, [log])
    recorded = record(store, taken)

    assert (taken.segments, recorded.accepted, recorded.rejected) == ((), 0, 1)
    assert recorded_logs(store.ledger, [log]) == {log.source_id}


def test_a_limit_lowered_after_the_acknowledgement_refuses_nothing(store: Store) -> None:
    log = receive(store, [chat_line("large", text="x" * 10_000)])
    taken = take_in_logs(
        store.directory,
        [log],
        rules=ReadingRules(largest_line_bytes=1_000),
        first_segment=next_segment(store.ledger, store.directory.segments),
    )
    recorded = record(store, taken)
    assert (recorded.accepted, recorded.rejected) == (1, 0)
    assert store.value("SELECT state FROM requests WHERE custom_id = 'large'") == "pending"


def test_repeats_are_counted_for_the_log_that_brought_them(store: Store) -> None:
    first = receive(store, [chat_line("a")])
    unreadable = receive(store, [chat_line("x")])
    unreadable.path.write_bytes(b"nothing\n")
    last = receive(store, [chat_line("b"), chat_line("a"), chat_line("a")])

    record(store, take(store, [first, unreadable, last]))

    rows = store.rows("SELECT accepted, rejected, repeated FROM sources ORDER BY source_id")
    assert [tuple(row.values()) for row in rows] == [(1, 0, 0), (0, 1, 0), (1, 0, 2)]


def test_requests_go_to_where_their_labels_job_sends_them(store: Store) -> None:
    record(store, take(store, [receive(store, [chat_line("a")])]))
    store.run(
        "UPDATE jobs SET delivery_config = ?",
        '{"type":"webhook","webhook_url":"https://example.com/hook"}',
    )
    record(store, take(store, [receive(store, [chat_line("b")])]))

    rows = store.rows(
        "SELECT custom_id, kind FROM requests JOIN destinations USING (destination_id)"
    )
    assert {row["custom_id"]: row["kind"] for row in rows} == {"a": "file", "b": "webhook"}


def test_a_full_disk_leaves_nothing_of_a_pass_behind(small_disk: Path) -> None:
    store = Store.at(small_disk / "data")
    noise = [chat_line(f"id-{n}", text=secrets.token_hex(2_000)) for n in range(300)]
    log = receive(store, noise)
    fill(small_disk, free_bytes=20_000)

    with pytest.raises(DiskFull):
        take(store, [log])
    assert list(store.directory.segments.iterdir()) == []

    empty(small_disk)
    assert record(store, take(store, [log])).accepted == 300


_INGESTION = """
import os, signal, sys
from pathlib import Path
from batching.requests import ReadingRules
from storage.directory import DataDirectory
from storage.ledger import Ledger
from storage.log_files import logs_in
from storage.log_intake import take_in_logs
from storage.log_recording import record_logs

directory, step = DataDirectory(Path(sys.argv[1])), sys.argv[2]
logs = logs_in(directory.inbox)
taken = take_in_logs(directory, logs, rules=ReadingRules(), first_segment=1)
if step == "recording":
    import storage.log_recording as recording
    recording._record_sources = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if step != "written":
    record_logs(Ledger(directory), taken, account="default@http://provider")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("step", ["written", "recording", "recorded"])
def test_an_ingestion_killed_at_any_step_takes_every_request_in_once(
    store: Store, step: str
) -> None:
    logs = [receive(store, chat_lines(3, prefix=f"p{number}")) for number in range(2)]
    killed = subprocess.run(
        [sys.executable, "-c", _INGESTION, str(store.directory.root), step], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    logs.append(receive(store, [chat_line("later")]))

    recorded = recorded_logs(Ledger.open(store.directory), logs)
    left = [log for log in logs if log.source_id not in recorded]
    assert len(left) == (1 if step == "recorded" else 3)
    forgotten = forget_unrecorded_segments_of(
        store.ledger, store.directory.segments, [log.source_id for log in left]
    )
    assert forgotten == (0 if step == "recorded" else 1)
    record(store, take(store, left))

    assert store.states() == {"pending": 7}
    assert store.value("SELECT count(DISTINCT custom_id) FROM requests") == 7


def test_segments_of_others_stay_when_unrecorded_ones_are_forgotten(store: Store) -> None:
    log = receive(store, [chat_line("a")])
    take(store, [log])

    assert forget_unrecorded_segments_of(store.ledger, store.directory.segments, ["other"]) == 0
    assert len(list(store.directory.segments.iterdir())) == 1
