"""Batches: the client's view and the worker's progress, saved together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from simulator.database import add_to_counters
from simulator.records import BatchRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.database import Database

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(BatchRecord).decode


class BatchChangedError(Exception):
    """A cancel arrived while a step was under way; the step does not count."""


@dataclass(frozen=True, kw_only=True)
class StoredBatch:
    """A batch as it lies in the database, with what others asked of it."""

    record: BatchRecord
    cancel_requested_at: int | None
    released: bool


class BatchStore:
    """Batches of every account, newest last."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._work = directory / "work"
        self._paid = directory / "paid"
        self._work.mkdir(parents=True, exist_ok=True)
        self._paid.mkdir(parents=True, exist_ok=True)

    def work_file(self, batch_id: str, kind: str) -> Path:
        """Return where a batch keeps its blocks or its input while it runs."""
        return self._work / f"{batch_id}.{kind}"

    def paid_file(self, batch_id: str) -> Path:
        """Return where the hashes of the paid bodies of a batch lie."""
        return self._paid / batch_id

    def create(self, record: BatchRecord, *, due_at: float) -> None:
        """Add a batch; the worker takes it up when it is due."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO batches (id, account, input_file_id, due_at, record)"
                " VALUES (?, ?, ?, ?, ?)",
                (record.id, record.account, record.input_file_id, due_at, _encode(record)),
            )
            add_to_counters(connection, batches_created=1)

    def find(self, batch_id: str, account: str) -> StoredBatch | None:
        """Return a batch of this account that is visible already."""
        row = self._database.execute(
            "SELECT record, cancel_requested_at, released FROM batches"
            " WHERE id = ? AND account = ?",
            (batch_id, account),
        ).fetchone()
        if row is None:
            return None
        stored = _stored(row)
        return stored if stored.record.visible_at <= time.time() else None

    def newest_first(self, account: str, *, after: str | None) -> Iterator[StoredBatch]:
        """Yield the visible batches of an account, those after the batch `after`."""
        rows = self._database.execute(
            "SELECT record, cancel_requested_at, released FROM batches WHERE account = :account"
            " AND (:after IS NULL OR sequence < (SELECT sequence FROM batches WHERE id = :after))"
            " ORDER BY sequence DESC",
            {"account": account, "after": after},  # type: ignore[arg-type] # named parameters are a mapping
        )
        now = time.time()
        for row in rows:
            stored = _stored(row)
            if stored.record.visible_at <= now:
                yield stored

    def request_cancel(self, batch_id: str) -> None:
        """Ask the worker to cancel a batch, at once if it is waiting."""
        now = time.time()
        self._database.execute(
            "UPDATE batches SET due_at = ?, cancel_requested_at ="
            " coalesce(cancel_requested_at, ?) WHERE id = ? AND due_at IS NOT NULL",
            (now, int(now), batch_id),
        )

    def release(self, batch_id: str | None) -> int:
        """Let a stuck batch (or all of them) go on; return how many were told."""
        return self._database.execute(
            "UPDATE batches SET released = 1, due_at = ? WHERE due_at IS NOT NULL"
            " AND (? IS NULL OR id = ?)",
            (time.time(), batch_id, batch_id),
        ).rowcount

    def next_due(self) -> tuple[StoredBatch, float] | None:
        """Return the unfinished batch that is due first, and when it is."""
        row = self._database.execute(
            "SELECT record, cancel_requested_at, released, due_at FROM batches"
            " WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1"
        ).fetchone()
        return None if row is None else (_stored(row[:3]), float(row[3]))

    def save(
        self,
        connection: sqlite3.Connection,
        record: BatchRecord,
        *,
        due_at: float | None,
        seen: StoredBatch,
    ) -> None:
        """Store a step's outcome, unless a cancel came in meanwhile."""
        changed = connection.execute(
            "UPDATE batches SET record = ?, due_at = ?, ended_at = ?"
            " WHERE id = ? AND cancel_requested_at IS ?",
            (
                _encode(record),
                due_at,
                time.time() if due_at is None else None,
                record.id,
                seen.cancel_requested_at,
            ),
        ).rowcount
        if not changed:
            raise BatchChangedError

    def enqueue(
        self, connection: sqlite3.Connection, batch_id: str, *, queue: str, tokens: int
    ) -> None:
        """Count a batch's tokens as waiting in a model's queue until the batch ends."""
        connection.execute(
            "UPDATE batches SET queue = ?, enqueued_tokens = ? WHERE id = ?",
            (queue, tokens, batch_id),
        )

    def enqueued_tokens(self, account: str, queue: str, *, ended_after: float) -> int:
        """Return the tokens of a model's queue, ended batches counted for a while."""
        row = self._database.execute(
            "SELECT coalesce(sum(enqueued_tokens), 0) FROM batches WHERE account = ?"
            " AND queue = ? AND (ended_at IS NULL OR ended_at > ?)",
            (account, queue, ended_after),
        ).fetchone()
        return int(row[0])

    def paid_sizes(self) -> list[tuple[str, int]]:
        """Return each batch with the bytes of its paid file that count."""
        rows = self._database.execute("SELECT record FROM batches ORDER BY sequence")
        records = (_decode(row[0]) for row in rows)
        return [(record.id, record.paid_bytes) for record in records if record.paid_bytes]


def _stored(row: tuple[bytes, int | None, int]) -> StoredBatch:
    return StoredBatch(record=_decode(row[0]), cancel_requested_at=row[1], released=bool(row[2]))
