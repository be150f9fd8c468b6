import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from factories import Store, chat_lines

from storage.backups import log_of
from storage.snapshots import ledger_generation, snapshot

READER = """
import sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.backups import log_of
from storage.snapshots import snapshot
for _ in range(8):
    with snapshot(DataDirectory(Path(sys.argv[1])), max_age_seconds=0.0) as reader:
        first = reader.value("SELECT count(*) FROM meta WHERE key = 'first'")
        second = reader.value("SELECT count(*) FROM meta WHERE key = 'second'")
        assert first == second, (first, second)
"""


def copies(store: Store) -> list[Path]:
    return sorted(store.directory.snapshots.glob("ledger.*.duckdb"))


def count(store: Store, *, max_age_seconds: float = 0.0) -> int:
    with snapshot(store.directory, max_age_seconds=max_age_seconds) as reader:
        return int(reader.value("SELECT count(*) FROM requests"))


def test_readers_share_a_copy_until_the_ledger_moves_on(store: Store) -> None:
    assert count(store) == 0
    (first,) = copies(store)
    assert count(store) == 0
    assert copies(store) == [first]
    store.take_in(chat_lines(5))
    assert count(store) == 5
    (second,) = copies(store)
    assert second != first


def test_a_reader_that_is_not_in_a_hurry_keeps_the_older_copy(store: Store) -> None:
    assert count(store) == 0
    store.take_in(chat_lines(5))
    assert count(store, max_age_seconds=600.0) == 0
    assert count(store, max_age_seconds=0.0) == 5


def test_a_copy_that_is_being_read_stays_readable_when_it_is_replaced(store: Store) -> None:
    with snapshot(store.directory) as older:
        store.take_in(chat_lines(5))
        assert count(store) == 5
        assert older.value("SELECT count(*) FROM requests") == 0


def test_a_reader_cannot_write(store: Store) -> None:
    with snapshot(store.directory) as reader, pytest.raises(Exception, match="read-only"):
        reader.execute("DELETE FROM meta")


def test_what_killed_readers_left_is_deleted_but_not_what_others_are_making(store: Store) -> None:
    old = store.directory.snapshots / ".ledger.1-0.duckdb.77.1"
    young = store.directory.snapshots / ".ledger.2-0.duckdb.78.1"
    replaced = store.directory.snapshots / "ledger.3-0.duckdb.wal"
    for path in (old, young, replaced):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    assert count(store) == 0
    assert not old.exists()
    assert young.exists()
    assert not replaced.exists()


def test_a_copy_that_vanishes_before_it_is_opened_is_made_again(store: Store) -> None:
    assert count(store) == 0
    for path in copies(store):
        path.unlink()
    assert count(store) == 0


def test_the_generation_follows_every_change_and_nothing_else(store: Store) -> None:
    before = ledger_generation(store.directory)
    assert count(store) == 0
    assert ledger_generation(store.directory) == before
    store.run("INSERT INTO meta VALUES ('a', 'b')")
    assert ledger_generation(store.directory) != before


def test_readers_of_two_processes_see_whole_transactions_while_a_writer_works(
    store: Store,
) -> None:
    command = [sys.executable, "-c", READER, str(store.directory.root)]
    readers = [subprocess.Popen(command) for _ in range(2)]
    for _ in range(10):
        with store.ledger.transaction() as transaction:
            transaction.execute("INSERT INTO meta VALUES ('first', '1')")
            transaction.execute("INSERT INTO meta VALUES ('second', '1')")
    assert [reader.wait() for reader in readers] == [0, 0]


def test_readers_of_two_threads_share_the_newest_copy(store: Store) -> None:
    store.take_in(chat_lines(3))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(count(store))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3, 3, 3, 3]
    assert len(copies(store)) == 1


def test_two_who_copy_at_once_leave_each_others_log_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(store.directory.ledger)
    log.touch()  # as after a kill
    real_copy = shutil.copyfile
    seen: list[bytes] = []

    def late_copy(source: Path, target: Path) -> None:
        if source != log or seen:
            real_copy(source, target)
            return
        seen.append(b"")
        count(store)  # another process is faster, and reads its copy while this one goes on
        (made,) = copies(store)
        log_of(made).write_bytes(b"being read")
        real_copy(source, target)
        seen.append(log_of(made).read_bytes())

    monkeypatch.setattr(shutil, "copyfile", late_copy)
    assert count(store) == 0
    assert seen == [b"", b"being read"]
    assert not list(store.directory.snapshots.glob(".*"))
