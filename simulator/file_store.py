"""Stored files: a row in the database, the content under the file's id on disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from simulator.records import FileRecord

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from simulator.database import Database

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(FileRecord).decode


class FileStore:
    """Files of every account, newest last."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._contents = directory / "files"
        self.uploads = directory / "uploads"
        self._contents.mkdir(parents=True, exist_ok=True)
        self.uploads.mkdir(parents=True, exist_ok=True)
        for leftover in self.uploads.iterdir():
            leftover.unlink()

    def content(self, file_id: str) -> Path:
        """Return where the content of a file lies."""
        return self._contents / file_id

    def add(self, record: FileRecord, connection: sqlite3.Connection | None = None) -> None:
        """Make a file visible whose content is already in its place."""
        (connection or self._database.connection).execute(
            "INSERT INTO files (id, account, purpose, bytes, record) VALUES (?, ?, ?, ?, ?)",
            (record.id, record.account, record.purpose, record.bytes, _encode(record)),
        )

    def find(self, file_id: str, account: str) -> FileRecord | None:
        """Return a file of this account that has not expired."""
        row = self._database.execute(
            "SELECT record FROM files WHERE id = ? AND account = ?", (file_id, account)
        ).fetchone()
        if row is None:
            return None
        record = _decode(row[0])
        expired = record.expires_at is not None and record.expires_at <= time.time()
        return None if expired else record

    def delete(self, file_id: str) -> None:
        """Remove a file for good."""
        self._database.execute("DELETE FROM files WHERE id = ?", (file_id,))
        self.content(file_id).unlink(missing_ok=True)

    def page(
        self, account: str, *, after: str | None, limit: int, ascending: bool, purpose: str | None
    ) -> list[FileRecord]:
        """Return up to `limit` files that follow the file `after`."""
        order, comparison = ("ASC", ">") if ascending else ("DESC", "<")
        rows = self._database.execute(
            "SELECT record FROM files WHERE account = :account"
            " AND (:purpose IS NULL OR purpose = :purpose) AND (:after IS NULL OR sequence"
            f" {comparison} (SELECT sequence FROM files WHERE id = :after))"
            f" ORDER BY sequence {order} LIMIT :limit",
            {"account": account, "purpose": purpose, "after": after, "limit": limit},  # type: ignore[arg-type] # named parameters are a mapping
        )
        return [_decode(row[0]) for row in rows]

    def totals(self) -> tuple[int, int]:
        """Return how many files are stored and how many bytes they hold."""
        row = self._database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM files")
        count, size = row.fetchone()
        return int(count), int(size)
