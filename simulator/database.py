"""The simulator's state on disk: one SQLite file, one connection a thread."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, account TEXT NOT NULL,
    purpose TEXT NOT NULL, bytes INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, account TEXT NOT NULL,
    input_file_id TEXT NOT NULL, queue TEXT, enqueued_tokens INTEGER NOT NULL DEFAULT 0,
    ended_at REAL, due_at REAL, cancel_requested_at INTEGER, released INTEGER NOT NULL DEFAULT 0,
    record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS due_batches ON batches (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS scenario_rules (
    id INTEGER PRIMARY KEY AUTOINCREMENT, rule BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS scenario_uses (
    rule INTEGER NOT NULL, subject TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (rule, subject)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failed_bodies (
    rule INTEGER NOT NULL, body INTEGER NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (rule, body)) WITHOUT ROWID;
"""


class Database:
    """An SQLite file that every thread reaches by its own connection."""

    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        self._path = path
        self._local = threading.local()
        self.connection.executescript(schema)

    @property
    def connection(self) -> sqlite3.Connection:
        """The calling thread's connection."""
        connection = getattr(self._local, "connection", None)
        if isinstance(connection, sqlite3.Connection):
            return connection
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; only a power cut could, which a simulator may.
        connection.execute("PRAGMA synchronous = OFF")
        self._local.connection = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do several writes at once or not at all."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement in the calling thread."""
        return self.connection.execute(statement, parameters)

    def close(self) -> None:
        """Close the calling thread's connection."""
        self.connection.close()
        del self._local.connection


def add_to_counters(connection: sqlite3.Connection, **amounts: int) -> None:
    """Add to running totals within the caller's transaction."""
    connection.executemany(
        "INSERT INTO counters VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        [(name, amount) for name, amount in amounts.items() if amount],
    )
