"""What a sceptical reader of the pipeline found: each was once a way to lose, pay or hang."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from factories import Store, chat_lines

from batching.errors import DiskFull
from batching.line_faults import Refusal, RefusalCode
from storage import durable
from storage.directory import DataDirectory
from storage.ledger import Ledger
from storage.rejected_lines import RejectedWriter
from storage.snapshots import snapshot

AN_HOUR_SECONDS = 3600


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
    assert left == {"ledger.lock", "ledger.duckdb"}


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
