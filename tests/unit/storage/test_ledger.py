import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from factories import Store, chat_lines, empty, fill

from batching.errors import ConfigurationError, DiskFull
from storage import ledger as ledger_module
from storage.directory import DataDirectory
from storage.ledger import Ledger, migrations, schema_version
from storage.snapshots import snapshot

WRITER = """
import sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.ledger import Ledger
ledger = Ledger.open(DataDirectory(Path(sys.argv[1])))
name, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    with ledger.transaction() as transaction:
        transaction.execute("INSERT INTO meta VALUES (?, ?)", name, str(number))
"""

KILLED_BEFORE_CLOSE = """
import os, signal, sys
from pathlib import Path
from storage.directory import DataDirectory
from storage.ledger import Ledger
ledger = Ledger.open(DataDirectory(Path(sys.argv[1])))
with ledger._connected() as connection:
    connection.execute("BEGIN")
    connection.execute("INSERT INTO meta VALUES ('killed', 'committed')")
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO meta VALUES ('killed', 'open')")
    os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED_WHILE_COMPACTING = """
import os, signal, sys
from pathlib import Path
from storage import ledger as ledger_module
from storage.directory import DataDirectory
def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)
ledger_module.sync_file = killed
ledger_module.Ledger.open(DataDirectory(Path(sys.argv[1]))).compact()
"""


def python(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])


def written(store: Store, key: str) -> list[str]:
    rows = store.rows("SELECT value FROM meta WHERE key = ? ORDER BY value::INTEGER", key)
    return [row["value"] for row in rows]


def test_an_error_takes_back_everything_of_its_transaction(store: Store) -> None:
    def fail_half_way() -> None:
        with store.ledger.transaction() as transaction:
            transaction.execute("INSERT INTO meta VALUES ('half', '1')")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail_half_way()
    assert written(store, "half") == []
    store.run("INSERT INTO meta VALUES ('half', '2')")
    assert written(store, "half") == ["2"]


def test_a_faulty_statement_takes_its_transaction_back_and_keeps_its_own_error(
    store: Store,
) -> None:
    with pytest.raises(duckdb.Error, match="no_such_table"):
        store.run("INSERT INTO no_such_table VALUES (1)")
    assert store.value("SELECT count(*) FROM meta") == 3


def test_times_come_back_in_utc_and_counts_are_of_rows_touched(store: Store) -> None:
    moment = datetime(2026, 3, 1, 12, 30, 1, 5, tzinfo=UTC)
    with store.ledger.transaction() as transaction:
        transaction.execute("CREATE TABLE times (moment TIMESTAMP)")
        assert transaction.execute("INSERT INTO times VALUES (?), (?)", moment, None) == 2
        assert transaction.value("SELECT max(moment) FROM times") == moment
        assert transaction.rows("SELECT moment FROM times ORDER BY moment NULLS FIRST") == [
            {"moment": None},
            {"moment": moment},
        ]
        assert transaction.row("SELECT moment FROM times WHERE false") is None
        assert transaction.value("SELECT moment FROM times WHERE false") is None
        assert transaction.execute("DELETE FROM times WHERE moment IS NULL") == 1


def test_queries_read_frames_and_give_frames_back(store: Store) -> None:
    numbers = pl.DataFrame({"number": [1, 2, 3]}, schema={"number": pl.Int32})
    with store.ledger.transaction() as transaction:
        with transaction.table("numbers", numbers):
            found = transaction.frame("SELECT number FROM numbers WHERE number > $1", 1)
            nothing = transaction.frame("SELECT number FROM numbers WHERE number > ?", 9)
        with pytest.raises(duckdb.Error, match="numbers"):
            transaction.frame("SELECT * FROM main.numbers")
    assert found["number"].to_list() == [2, 3]
    assert nothing.height == 0
    assert nothing.schema["number"] == pl.Int32


def test_what_a_killed_writer_committed_is_there_for_readers_and_for_the_next_writer(
    store: Store,
) -> None:
    assert python(KILLED_BEFORE_CLOSE, store.directory.root).wait() == -signal.SIGKILL
    log = store.directory.ledger.with_name("ledger.duckdb.wal")
    assert log.exists(), "the kill came too late to prove anything"
    with snapshot(store.directory) as reader:
        rows = reader.rows("SELECT value FROM meta WHERE key = 'killed'")
    assert rows == [{"value": "committed"}]
    assert log.exists()
    assert store.rows("SELECT value FROM meta WHERE key = 'killed'") == rows
    assert not log.exists()


def test_processes_that_write_at_once_lose_nothing(store: Store) -> None:
    writers = [python(WRITER, store.directory.root, name, 12) for name in ("one", "two")]
    for number in range(6):
        store.run("INSERT INTO meta VALUES ('three', ?)", str(number))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert written(store, "one") == written(store, "two") == [str(n) for n in range(12)]
    assert len(written(store, "three")) == 6


def test_opening_it_again_changes_nothing(store: Store) -> None:
    installation = store.ledger.installation()
    assert len(installation) == 8
    assert Ledger.open(store.directory).installation() == installation
    assert list(store.directory.backups.iterdir()) == []


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(store: Store) -> None:
    store.run("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    before = store.directory.ledger.read_bytes()
    with pytest.raises(ConfigurationError, match="written by a newer version"):
        Ledger.open(store.directory)
    assert store.directory.ledger.read_bytes() == before


def test_a_migration_copies_the_ledger_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.take_in(chat_lines(3))
    steps = [*migrations(), "ALTER TABLE jobs ADD COLUMN note VARCHAR DEFAULT 'new'"]
    monkeypatch.setattr(ledger_module, "migrations", lambda: steps)
    Ledger.open(store.directory)
    assert store.value("SELECT note FROM jobs") == "new"
    assert store.value("SELECT value FROM meta WHERE key = 'schema_version'") == str(len(steps))
    (copy,) = store.directory.backups.glob(f"*-before-schema-{len(steps)}.duckdb")
    with duckdb.connect(str(copy), read_only=True) as old:
        assert schema_version(old) == len(steps) - 1
        assert old.execute("SELECT count(*) FROM requests").fetchone() == (3,)


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = "ALTER TABLE jobs ADD COLUMN note VARCHAR; ALTER TABLE nothing ADD COLUMN x INTEGER"
    monkeypatch.setattr(ledger_module, "migrations", lambda: [*migrations(), faulty])
    with pytest.raises(duckdb.Error, match="nothing"):
        Ledger.open(store.directory)
    monkeypatch.undo()
    assert Ledger.open(store.directory).installation() == store.ledger.installation()
    columns = {row["column_name"] for row in store.rows("DESCRIBE jobs")}
    assert "note" not in columns


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.create()
    duckdb.connect(str(directory.ledger)).close()
    assert Ledger.open(directory).installation()


def test_the_file_keeps_the_format_that_older_versions_can_read(store: Store) -> None:
    store.ledger.compact()
    tags = store.value("SELECT tags FROM duckdb_databases() WHERE database_name = 'ledger'")
    major, minor, _ = tags["storage_version"].split("(")[0].strip().lstrip("v").split(".")[:3]
    assert (int(major), int(minor.rstrip("+"))) >= (1, 5)


def test_compacting_keeps_everything_and_gives_space_back(store: Store) -> None:
    store.run("CREATE TABLE ballast AS SELECT range AS n, uuid() AS text FROM range(200000)")
    store.take_in(chat_lines(2_000))
    store.run("DROP TABLE ballast")
    before = store.directory.ledger.stat().st_size
    requests = store.rows("SELECT * FROM requests ORDER BY segment, row_index")
    store.ledger.compact()
    assert store.directory.ledger.stat().st_size < before / 2
    assert store.rows("SELECT * FROM requests ORDER BY segment, row_index") == requests
    assert store.ledger.installation()
    names = {path.name for path in store.directory.root.glob("ledger*")}
    assert names == {"ledger.duckdb", "ledger.guard", "ledger.lock"}


def test_a_kill_while_compacting_leaves_the_old_ledger_and_the_next_try_works(
    store: Store,
) -> None:
    store.take_in(chat_lines(10))
    assert python(KILLED_WHILE_COMPACTING, store.directory.root).wait() == -signal.SIGKILL
    fresh = store.directory.root / "ledger.compact.duckdb"
    assert fresh.exists(), "the kill came too early to prove anything"
    fresh.with_name("ledger.compact.duckdb.wal").write_bytes(b"left behind")
    assert store.states() == {"pending": 10}
    store.ledger.compact()
    assert store.states() == {"pending": 10}
    assert not fresh.exists()


def test_a_log_that_stayed_behind_never_meets_a_compacted_ledger(store: Store) -> None:
    assert python(KILLED_BEFORE_CLOSE, store.directory.root).wait() == -signal.SIGKILL
    store.ledger.compact()
    assert store.rows("SELECT value FROM meta WHERE key = 'killed'") == [{"value": "committed"}]


def test_a_folder_with_a_quote_in_its_name_can_be_compacted(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "it's here")
    store.take_in(chat_lines(1))
    store.ledger.compact()
    assert store.states() == {"pending": 1}


def test_a_damaged_ledger_says_where_copies_are(store: Store) -> None:
    store.directory.ledger.write_bytes(b"not a database" * 1_000)
    with pytest.raises(ConfigurationError, match="backups"):
        store.ledger.installation()


def test_a_program_that_has_the_ledger_open_is_named(store: Store) -> None:
    code = (
        "import duckdb, sys; connection = duckdb.connect(sys.argv[1]); "
        "print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.directory.ledger)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(ConfigurationError, match=f"(?s)close it.*{holder.pid}"):
            store.ledger.installation()
        holder.kill()
    assert store.ledger.installation()


@pytest.mark.parametrize("free_bytes", [0, 64 * 1024])
def test_a_full_disk_is_said_and_nothing_is_lost(small_disk: Path, free_bytes: int) -> None:
    store = Store.at(small_disk / "data")
    store.take_in(chat_lines(50))
    fill(small_disk, free_bytes=free_bytes)
    with pytest.raises(DiskFull, match="free some"):
        store.run("CREATE TABLE large AS SELECT range AS n, uuid() AS text FROM range(200000)")
    empty(small_disk)
    assert store.states() == {"pending": 50}
    store.run("INSERT INTO meta VALUES ('goes', 'on')")
    assert store.value("SELECT value FROM meta WHERE key = 'goes'") == "on"


def test_no_space_for_a_compacted_copy_leaves_the_ledger_in_place(small_disk: Path) -> None:
    store = Store.at(small_disk / "data")
    store.take_in(chat_lines(50))
    fill(small_disk, free_bytes=64 * 1024)
    with pytest.raises(DiskFull):
        store.ledger.compact()
    empty(small_disk)
    assert store.states() == {"pending": 50}
    store.ledger.compact()
    assert store.states() == {"pending": 50}
