"""What a sceptical reader of the pipeline found: each was once a way to lose, pay or hang."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import Store, chat_lines

from batching.errors import DiskFull
from batching.line_faults import Refusal, RefusalCode
from deployments.until_idle import TIMED_OUT, Cycles
from storage import durable
from storage.directory import DataDirectory
from storage.ledger import Ledger
from storage.rejected_lines import RejectedWriter
from storage.snapshots import snapshot
from tasks.resources import Resources, using
from tasks.staging import take_in_source

AN_HOUR_SECONDS = 3600

Chat = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")


# The ledger and its copies ------------------------------------------------------------------


def test_a_kill_while_the_ledger_is_made_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    killed_before_it_is_published = (
        "import os, sys; from pathlib import Path; from storage import ledger\n"
        "from storage.directory import DataDirectory\n"
        "ledger.publish = lambda *_: os.kill(os.getpid(), 9)\n"
        "ledger.Ledger.open(DataDirectory(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", killed_before_it_is_published, str(directory.root)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not directory.ledger.exists()

    store = Store(directory, Ledger.open(directory))
    store.take_in(chat_lines(2))
    assert store.states() == {"pending": 2}
    left = {path.name for path in directory.root.glob("ledger.*")}
    assert left == {"ledger.lock", "ledger.duckdb", "ledger.guard"}


def test_the_log_of_a_ledger_that_is_gone_does_not_meet_a_new_one(store: Store) -> None:
    log = store.directory.ledger.with_name("ledger.duckdb.wal")
    log.write_bytes(b"what was committed to the ledger that is gone")
    store.directory.ledger.unlink()
    fresh = Store(store.directory, Ledger.open(store.directory))
    assert fresh.states() == {}
    (kept,) = store.directory.backups.glob("ledger.duckdb.wal-*")
    assert kept.read_bytes().startswith(b"what was committed")


def test_a_clock_that_is_put_back_does_not_freeze_what_readers_see(store: Store) -> None:
    with snapshot(store.directory):
        pass
    for copy in store.directory.snapshots.glob("ledger.*"):
        os.utime(copy, (time.time() + AN_HOUR_SECONDS,) * 2)
    store.take_in(chat_lines(2))
    with snapshot(store.directory, max_age_seconds=0) as reader:
        assert reader.value("SELECT count(*) FROM requests") == 2


def test_copies_that_fail_leave_nothing_on_a_full_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_up(_source: Path, target: Path) -> None:
        target.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fills_up)
    for _ in range(3):
        with pytest.raises(DiskFull), snapshot(store.directory, max_age_seconds=0):
            pass
    assert [path for path in store.directory.snapshots.iterdir() if path.is_file()] == []


def test_refused_lines_that_no_longer_fit_on_the_disk_do_not_hide_why_intake_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RejectedWriter(tmp_path / "refused.jsonl")
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(writer, "_file", os.fdopen(full, "wb"))
    refusal = Refusal(code=RefusalCode.DUPLICATE_CUSTOM_ID, reason="stands there twice")
    writer.add(1, refusal, b"{}")
    writer.discard()
    assert not durable.temporary_path(writer.path).exists()


# Intake ------------------------------------------------------------------------------------


def test_lines_added_to_a_file_that_was_taken_in_are_noticed_without_another_file(
    installation: Any, chat: Chat
) -> None:
    installation.drop("log.jsonl", [chat("first")], max_wait_seconds=5)
    assert installation.run() == 0
    (archived,) = (installation.data / "staging" / "archive").glob("*__log.jsonl")
    with archived.open("ab") as still_open:
        still_open.write(chat_lines(1, prefix="late")[0] + b"\n")

    assert installation.run() == 0
    assert [line["custom_id"] for line in installation.results("log")] == ["first", "late-0"]


def test_half_a_line_that_was_added_waits_for_its_other_half(installation: Any, chat: Chat) -> None:
    installation.drop("log.jsonl", [chat("first")])
    assert installation.run() == 0
    (archived,) = (installation.data / "staging" / "archive").glob("*__log.jsonl")
    line = chat_lines(1, prefix="late")[0] + b"\n"
    with archived.open("ab", buffering=0) as still_open:
        still_open.write(line[:40])
        assert installation.run(file_stable_seconds=60) == 0
        still_open.write(line[40:])
    os.utime(archived, (time.time() - AN_HOUR_SECONDS,) * 2)

    assert installation.run(file_stable_seconds=60) == 0
    assert [line["custom_id"] for line in installation.results("log")] == ["first", "late-0"]


def test_a_run_waits_for_a_file_that_is_still_being_copied(installation: Any, chat: Chat) -> None:
    installation.drop("whole.jsonl", [chat("one")])
    part = installation.data / "staging" / "inbox" / "half.jsonl.gz"
    part.write_bytes(b"\x1f\x8b\x08\x00 the rest is on its way")
    assert installation.run(file_stable_seconds=60, timeout_seconds=3) == TIMED_OUT
    assert part.exists()
    assert installation.states == {"succeeded": 1}


def test_a_claimed_file_that_somebody_takes_away_does_not_hang_the_flow(
    installation: Any,
) -> None:
    # StopIteration out of a thread would leave whoever awaits it waiting for ever.
    resources = Resources(installation.settings)
    resources.directory.create()
    with using(resources):
        gone = take_in_source.fn("20260101T000000000-abcd")
    assert gone.accepted == 0
    assert "inbox" in (gone.problem or "")


# Runs until idle ----------------------------------------------------------------------------


def test_a_run_that_could_not_deliver_everything_does_not_end_well(
    installation: Any, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    installation.drop("job.jsonl", [chat("one")])
    in_the_way = installation.data / "outbox" / "job"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file of the user where the job's folder must be")
    assert installation.run() == TIMED_OUT
    (warning,) = [record for record in caplog.records if record.msg == "requests still wait"]
    assert "1 results of job 'job'" in warning.__dict__["reason"]


def test_a_run_beside_the_owner_of_a_flow_does_not_spin(installation: Any, chat: Chat) -> None:
    installation.drop("job.jsonl", [chat("one")])
    begun: list[str] = []
    owned_by_another_process = {
        name: lambda name=name: begun.append(name)
        for name in ("ingest", "submit", "track", "deliver")
    }
    cycles = Cycles(installation.settings, threading.Event(), timeout_seconds=2)
    assert cycles.run(owned_by_another_process) == TIMED_OUT
    assert 0 < len(begun) <= 2 / installation.settings.poll_min_seconds
