"""How often each body was paid for.

Running batches only append eight bytes a line to a file; the files are summed up when
somebody asks, so that full speed costs nothing for it and memory stays flat.
"""

from __future__ import annotations

import threading
from array import array
from typing import TYPE_CHECKING, Any

from simulator.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from simulator.batch_store import BatchStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS paid (body INTEGER PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS merged (batch TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS paid_twice ON paid (body) WHERE times > 1;
"""
SHOWN_OFFENDERS = 100
READ_BYTES = 1 << 19


class PaidBodies:
    """Counts, over all batches, how many times a line with the same body was paid."""

    def __init__(self, path: Path, batches: BatchStore) -> None:
        self._database = Database(path, SCHEMA)
        self._batches = batches
        self._lock = threading.Lock()

    def lines_paid_again(self) -> int:
        """Return how many paid lines were more than the first for their body."""
        self._merge()
        row = self._database.execute(
            "SELECT coalesce(sum(times - 1), 0) FROM paid WHERE times > 1"
        ).fetchone()
        return int(row[0])

    def offenders(self) -> list[dict[str, Any]]:
        """Return the first bodies that were paid more than once, and in which batches."""
        self._merge()
        rows = self._database.execute(
            "SELECT body, times FROM paid WHERE times > 1 ORDER BY body LIMIT ?", (SHOWN_OFFENDERS,)
        ).fetchall()
        batches = self._batches_of({row[0] for row in rows})
        return [
            {"body_hash": f"{body & (1 << 64) - 1:016x}", "times": times, "batches": batches[body]}
            for body, times in rows
        ]

    def _merge(self) -> None:
        with self._lock:
            for batch_id, size in self._batches.paid_sizes():
                self._merge_batch(batch_id, size)

    def _merge_batch(self, batch_id: str, size: int) -> None:
        row = self._database.execute(
            "SELECT bytes FROM merged WHERE batch = ?", (batch_id,)
        ).fetchone()
        done = 0 if row is None else row[0]
        if done == size:
            return
        with self._database.transaction() as connection:
            for hashes in _read(self._batches.paid_file(batch_id), done, size):
                connection.executemany(
                    "INSERT INTO paid VALUES (?, 1)"
                    " ON CONFLICT (body) DO UPDATE SET times = times + 1",
                    ((body,) for body in sorted(hashes)),
                )
            connection.execute("INSERT OR REPLACE INTO merged VALUES (?, ?)", (batch_id, size))

    def _batches_of(self, bodies: set[int]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {body: [] for body in bodies}
        if not bodies:
            return found
        for batch_id, size in self._batches.paid_sizes():
            for hashes in _read(self._batches.paid_file(batch_id), 0, size):
                for body in filter(bodies.__contains__, hashes):
                    found[body].append(batch_id)
        return found


def _read(path: Path, start: int, end: int) -> Iterable[array[int]]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            data = file.read(min(READ_BYTES, end - start))
            start += len(data)
            hashes = array("q")
            hashes.frombytes(data)
            yield hashes
