"""The ledger: a DuckDB file that is opened for one transaction under a file lock.

The order is fixed: take the lock, open, begin, commit, close (which checkpoints), release.
Nothing else may open the file itself: closing any other handle on it inside the same process
would silently drop DuckDB's own lock (POSIX locks go with the first close).
"""

import logging
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl

from batching import clock
from batching.errors import BadInput, ConfigurationError, DiskFull
from storage.backups import back_up, log_of
from storage.checkpoint_guard import CheckpointGuard
from storage.directory import DataDirectory
from storage.durable import move, publish, sync_file
from storage.locks import exclusive_lock
from storage.submission_lock import lock_row, lock_submission

logger = logging.getLogger(__name__)

STORAGE_VERSION = "v1.5.0"
"""The file format: set once, at creation; DuckDB 1.5 can read it too."""

_WRITER_SETTINGS = {
    "storage_compatibility_version": STORAGE_VERSION,
    "checkpoint_threshold": "1TB",
}
"""No checkpoint before the closing, which is guarded."""

_HOME = "home"
"""In `meta`: the lock file beside which this ledger was last opened."""

_one_transaction_at_a_time = threading.Lock()


def now() -> datetime:
    """Return the present moment in UTC."""
    return clock.now()


class Transaction:
    """An open connection in which everything happens together or not at all."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, *parameters: object) -> int:
        """Run a statement; return how many rows an INSERT, UPDATE or DELETE touched."""
        self._connection.execute(sql, [_to_ledger(value) for value in parameters])
        row = self._connection.fetchone() if self._connection.description else None
        return int(row[0]) if row and isinstance(row[0], int) else 0

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries, times in UTC."""
        cursor = self._connection.execute(sql, [_to_ledger(value) for value in parameters])
        names = [column[0] for column in cursor.description]
        return [
            {name: _from_ledger(value) for name, value in zip(names, row, strict=True)}
            for row in cursor.fetchall()
        ]

    def row(self, sql: str, *parameters: object) -> dict[str, Any] | None:
        """Return the first row of a query, or None."""
        found = self.rows(sql, *parameters)
        return found[0] if found else None

    def value(self, sql: str, *parameters: object) -> Any:
        """Return the first value of the first row of a query, or None."""
        cursor = self._connection.execute(sql, [_to_ledger(value) for value in parameters])
        rows = cursor.fetchall()  # a result that is left unfinished would block the next query
        return _from_ledger(rows[0][0]) if rows else None

    def frame(self, sql: str, *parameters: object) -> pl.DataFrame:
        """Return the rows of a query as a Polars frame (times without zone, in UTC)."""
        found = self._connection.sql(sql, params=[_to_ledger(value) for value in parameters])
        return pl.DataFrame(found.to_arrow_table())

    @contextmanager
    def table(self, name: str, frame: pl.DataFrame) -> Iterator[None]:
        """Let queries read the frame under the name."""
        self._connection.register(name, frame.to_arrow())
        yield
        # Not after an error: an aborted transaction would refuse, and hide what went wrong.
        self._connection.unregister(name)

    def record_move(
        self,
        entity: str,
        entity_id: object,
        target: str,
        *,
        source: str | None = None,
        reason: str | None = None,
        actor: str = "pipeline",
    ) -> None:
        """Write one line of the audit trail."""
        self.execute(
            "INSERT INTO transitions VALUES (?, ?, ?, ?, ?, ?, ?)",
            now(), entity, str(entity_id), source, target, reason, actor,
        )  # fmt: skip


class Ledger:
    """The one truth about state; every verb of storage is one transaction in here."""

    def __init__(self, directory: DataDirectory, *, memory_bytes: int = 1_000_000_000) -> None:
        self.directory = directory
        self._memory_bytes = memory_bytes

    @classmethod
    def open(cls, directory: DataDirectory, *, memory_bytes: int = 1_000_000_000) -> Self:
        """Return the ledger of the directory, created and migrated to this version."""
        ledger = cls(directory, memory_bytes=memory_bytes)
        ledger._migrate()
        return ledger

    @classmethod
    def make_anew(
        cls, directory: DataDirectory, *, installation: str | None, reason: str, memory_bytes: int
    ) -> Self:
        """Return a new ledger in place of a lost one: submission is locked from the beginning."""
        ledger = cls(directory, memory_bytes=memory_bytes)
        key, lock = lock_row(reason)
        told = {key: lock} | ({} if installation is None else {"installation": installation})
        with _one_transaction_at_a_time, exclusive_lock(directory.ledger_lock):
            ledger._create(migrations(), told=told)
        return ledger

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Hold the ledger alone; commit at the end, roll back on any error."""
        with (
            _one_transaction_at_a_time,
            exclusive_lock(self.directory.ledger_lock),
            self._connected() as connection,
        ):
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def prove_writable(self) -> None:
        """Return if something can be recorded now; the error says why not."""
        with self.transaction() as transaction:
            # An update to the same value would be recognised as nothing, and not be written.
            transaction.execute("CREATE TABLE written_to_prove_it (proof BOOLEAN)")
            transaction.execute("DROP TABLE written_to_prove_it")

    @contextmanager
    def _connected(self, path: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        path = path or self.directory.ledger
        try:
            with CheckpointGuard(path, is_needed=path == self.directory.ledger) as guard:
                connection = duckdb.connect(
                    str(path),
                    config=connection_settings(self.directory, memory_bytes=self._memory_bytes)
                    | _WRITER_SETTINGS,
                )
                try:
                    connection.execute("SET TimeZone = 'UTC'")
                    yield connection
                finally:
                    guard.before_closing(connection)
                    connection.close()
        except duckdb.Error as error:
            raise explained(error, path) from error

    def _migrate(self) -> None:
        """Bring the schema to this version; refuse a ledger of a newer one."""
        wanted = migrations()
        with _one_transaction_at_a_time, exclusive_lock(self.directory.ledger_lock):
            if not self.directory.ledger.exists():
                self._refuse_if_lost()
                self._create(wanted)
                return
            with self._connected() as connection:
                found = schema_version(connection)
                if 0 < found <= len(wanted):
                    self._lock_if_moved(connection)
            if found > len(wanted):
                raise ConfigurationError(
                    f"the ledger {self.directory.ledger} was written by a newer version "
                    f"(schema {found}, this version knows {len(wanted)}): "
                    "install that version again, or point OBM_DATA_DIR at another folder"
                )
            if found == len(wanted):
                return
            if found:
                back_up(self.directory, label=f"before-schema-{len(wanted)}")
            for number in range(found + 1, len(wanted) + 1):
                self._apply(number, wanted[number - 1], self.directory.ledger)

    def _lock_if_moved(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Lock submission if the whole data directory was copied or put back.

        What was done since then is not in here. The lock file is never made anew by us, so
        another one (by its inode) means another place.
        """
        home = str(self.directory.ledger_lock.stat().st_ino)
        transaction = Transaction(connection)
        known = transaction.value("SELECT value FROM meta WHERE key = ?", _HOME)
        if known == home:
            return
        connection.execute("BEGIN")
        if known is not None:
            reason = "the data directory was copied here, or restored"
            lock_submission(transaction, reason=reason, actor="ledger")
        transaction.execute("DELETE FROM meta WHERE key = ?", _HOME)
        transaction.execute("INSERT INTO meta VALUES (?, ?)", _HOME, home)
        connection.execute("COMMIT")

    def _refuse_if_lost(self) -> None:
        """Begin no empty ledger where another one has worked: it would know of nothing."""
        if is_lost(self.directory):
            raise ConfigurationError(
                f"the ledger {self.directory.ledger} is gone, but requests were accepted here: "
                f"put the newest copy from {self.directory.backups} in its place, or let "
                "`obm rebuild` make it anew of the other files; nothing is sent until then"
            )

    def _create(self, wanted: list[str], *, told: Mapping[str, str] | None = None) -> None:
        """Make a new ledger beside its place: a half-made one could never be opened again."""
        fresh = self.directory.ledger.with_name("ledger.new.duckdb")
        _remove(fresh)
        orphan = log_of(self.directory.ledger)
        if orphan.exists():  # it belongs to a ledger that is gone: it must not meet the new one
            move(orphan, self.directory.backups / f"{orphan.name}-{secrets.token_hex(4)}")
        for number, sql in enumerate(wanted, start=1):
            self._apply(number, sql, fresh)
        if told:
            self._tell(fresh, told)
        sync_file(fresh)
        publish(fresh, self.directory.ledger)

    def _tell(self, path: Path, told: Mapping[str, str]) -> None:
        with self._connected(path) as connection:
            for key, value in told.items():
                connection.execute("DELETE FROM meta WHERE key = ?", [key])
                connection.execute("INSERT INTO meta VALUES (?, ?)", [key, value])
            connection.execute("CHECKPOINT")

    def _apply(self, number: int, sql: str, path: Path) -> None:
        with self._connected(path) as connection:
            connection.execute("BEGIN")
            connection.execute(sql)
            if number == 1:
                connection.execute(
                    "INSERT INTO meta VALUES ('installation', ?)", [secrets.token_hex(4)]
                )
                home = str(self.directory.ledger_lock.stat().st_ino)
                connection.execute("INSERT INTO meta VALUES (?, ?)", [_HOME, home])
            connection.execute("DELETE FROM meta WHERE key = 'schema_version'")
            connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(number)])
            connection.execute("COMMIT")
            if path != self.directory.ledger:
                connection.execute("CHECKPOINT")
        logger.info("ledger migrated", extra={"schema_version": number})

    def compact(self) -> None:
        """Write the ledger anew without the space of deleted rows, and put it in place."""
        fresh = self.directory.ledger.with_name("ledger.compact.duckdb")
        with _one_transaction_at_a_time, exclusive_lock(self.directory.ledger_lock):
            _remove(fresh)
            try:
                self._copy_into(fresh)
            except BaseException:
                _remove(fresh)  # on a full disk it would be in everybody's way
                raise
            # A log that stayed behind belongs to the old file: it must not meet the new one.
            if not log_of(self.directory.ledger).exists() and not log_of(fresh).exists():
                sync_file(fresh)
                publish(fresh, self.directory.ledger)

    def _copy_into(self, fresh: Path) -> None:
        with self._connected() as connection:
            place = str(fresh).replace("'", "''")
            connection.execute(f"ATTACH '{place}' AS fresh (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute("COPY FROM DATABASE ledger TO fresh")
            connection.execute("CHECKPOINT fresh")
            connection.execute("DETACH fresh")

    def installation(self) -> str:
        """Return the name of this installation, the first part of its wire ids."""
        with self.transaction() as transaction:
            return str(transaction.value("SELECT value FROM meta WHERE key = 'installation'"))


def is_lost(directory: DataDirectory) -> bool:
    """Return whether the ledger is gone although requests, batches or results are there."""
    kept = (
        directory.segments.glob("*.parquet"),
        directory.batches.glob("*/manifest.parquet"),
        directory.results.glob("*.parquet"),
    )
    return not directory.ledger.exists() and any(True for found in kept for _ in found)


def _remove(ledger: Path) -> None:
    """Delete a ledger that nobody uses, with its log."""
    for path in (ledger, log_of(ledger)):
        path.unlink(missing_ok=True)


def connection_settings(directory: DataDirectory, *, memory_bytes: int) -> dict[str, Any]:
    """Return what every connection is opened with: bounded and offline."""
    return {
        "threads": min(2, os.cpu_count() or 1),
        "memory_limit": f"{memory_bytes // 1_000_000}MB",
        "temp_directory": str(directory.spill),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the schema version of an open ledger; 0 for an empty file."""
    known = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'meta'"
    ).fetchone()
    if not known or not known[0]:
        return 0
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    return int(row[0]) if row else 0


def migrations() -> list[str]:
    """Return the SQL of every migration, in order."""
    folder = resources.files("storage") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


_DAMAGED = (duckdb.SerializationException, duckdb.IOException, duckdb.FatalException)


def _to_ledger(value: object) -> object:
    """Return the value as the ledger keeps it: times in UTC without a zone, paths as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, Path):
        return str(value)
    return value


def _from_ledger(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def explained(error: duckdb.Error, path: Path) -> Exception:
    """Return the error that a person can act on, or the error itself if nothing is known of it."""
    text = str(error)
    if "No space left" in text or "could not write" in text.lower():
        return DiskFull(f"no space left while writing {path}: free some, then it goes on by itself")
    if isinstance(error, duckdb.IOException) and "lock" in text:
        return ConfigurationError(
            f"another program has {path} open: close it ({text.splitlines()[0]})"
        )
    if ".parquet" in text and ("No such file" in text or "No files found" in text):
        return BadInput(f"a file that the ledger works with is not there: {text.splitlines()[0]}")
    if any(word in text for word in ("Permission denied", "Read-only", "Too many open files")):
        return ConfigurationError(
            f"the ledger {path} cannot be used ({text.splitlines()[0]}): "
            "nothing is wrong with it, see to the disk, its permissions or the process's limits"
        )
    signs = ("Corrupt database file", "replaying WAL file")
    if isinstance(error, _DAMAGED) or any(sign in text for sign in signs):
        return ConfigurationError(
            f"the ledger {path} cannot be read ({text.splitlines()[0]}): "
            f"restore the newest copy from {path.parent / 'backups'}, with no {path.name}.wal "
            "beside it, or let `obm rebuild --force` make it anew of the other files; nothing is "
            "sent until then"
        )
    return error
