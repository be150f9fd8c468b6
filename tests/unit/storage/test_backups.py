import signal
import subprocess
import sys

import duckdb
import pytest
from factories import Store, chat_lines

from storage.backups import back_up_ledger
from storage.ledger import Ledger

KILLED_BEFORE_CLOSE = """
import os, signal, sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.ledger import Ledger
ledger = Ledger.open(DataDirectory(Path(sys.argv[1])))
with ledger._connected() as connection:
    connection.execute("INSERT INTO meta VALUES ('killed', 'committed')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_backup_holds_everything_and_can_take_the_ledgers_place(store: Store) -> None:
    store.take_in(chat_lines(4))
    copy = back_up_ledger(store.directory, keep=2)
    store.take_in(chat_lines(4, prefix="later"), source_id="s2")
    store.directory.ledger.write_bytes(copy.read_bytes())
    assert Ledger.open(store.directory).installation()
    assert store.states() == {"pending": 4}


def test_a_backup_after_a_kill_holds_what_was_committed(store: Store) -> None:
    command = [sys.executable, "-c", KILLED_BEFORE_CLOSE, str(store.directory.root)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    copy = back_up_ledger(store.directory, keep=2)
    with duckdb.connect(str(copy), read_only=True) as found:
        row = found.execute("SELECT value FROM meta WHERE key = 'killed'").fetchone()
    assert row == ("committed",)


@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_newest_hourly_backups_are_kept(store: Store, keep: int) -> None:
    migration = store.directory.backups / "ledger-20260101T000000000000-before-schema-2.duckdb"
    migration.write_bytes(b"kept")
    made = [back_up_ledger(store.directory, keep=keep) for _ in range(4)]
    assert sorted(store.directory.backups.glob("*-hourly.duckdb")) == sorted(made[-keep:])
    assert migration.exists()


def test_the_log_of_a_forgotten_backup_goes_with_it(store: Store) -> None:
    old = back_up_ledger(store.directory, keep=1)
    log = old.with_name(old.name + ".wal")
    log.write_bytes(b"log")
    back_up_ledger(store.directory, keep=1)
    assert not old.exists()
    assert not log.exists()


def test_copies_from_a_clock_that_was_ahead_go_before_those_made_since(store: Store) -> None:
    ahead = [
        store.directory.backups / f"ledger-2099010{day}T000000000000-hourly.duckdb"
        for day in (1, 2, 3)
    ]
    for copy in ahead:
        copy.write_bytes(b"made while the clock was ahead")
    made = [back_up_ledger(store.directory, keep=3) for _ in range(2)]
    assert sorted(store.directory.backups.glob("*-hourly.duckdb")) == sorted([ahead[2], *made])
