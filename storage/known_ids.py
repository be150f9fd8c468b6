"""What a receiver keeps in memory of the ids that were accepted, to answer a repeat at once.

An id is known by a key of 64 bits, made of the hashes of its job and its custom_id. With
10,000,000 known ids a new one meets another's key once in 1.8 * 10^12 times, and is then
refused as a conflict; it would only be taken for a repeat, and be lost, if its payload's 64
bits were the same as well: once in 3 * 10^31 times. Ids of two jobs are kept apart by the key,
so jobs that are never named by a receiver (files without a label) are not in here at all.
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import Final

import numpy as np
from xxhash import xxh3_64_intdigest

from batching.jobs import DEFAULT_JOB
from batching.requests import ReadingRules, ReadRequest, read_request
from storage.directory import DataDirectory
from storage.hash_shards import RECORDED, STAGED, Hashes, HashShards, as_hashes
from storage.ledger import Transaction
from storage.log_files import LogFile, lines_of, logs_in
from storage.received_lines import ReceivedLine, rules_for_received
from storage.snapshots import ledger_generation, snapshot

_ROWS_AT_A_TIME: Final = 250_000
_LINES_AT_A_TIME: Final = 50_000
_MOST_RECENT: Final = 50_000
_RULES: Final = rules_for_received(ReadingRules())
_JOBS_OF_RECEIVERS: Final = (
    "SELECT job_id, endless, label FROM jobs WHERE endless OR label <> 'default'"
)
_THEIR_NUMBERS: Final = f"SELECT job_id FROM ({_JOBS_OF_RECEIVERS})"


class Known(Enum):
    """What is known of an id."""

    NEW = auto()
    SAME = auto()
    """It was accepted with this payload: a repeat."""
    OTHER = auto()
    """It was accepted, with another payload only."""


class KnownIds:
    """The accepted ids of the jobs that receivers name: 17 bytes each, some µs a question.

    `load` and `refresh` belong to one thread at a time; the others may be called from any.
    """

    def __init__(self, directory: DataDirectory, *, own_role: str | None = None) -> None:
        """Index the directory; what `own_role` writes after the loading comes through `add`."""
        self._directory = directory
        self._own_role = own_role
        self._shards = HashShards()
        self._recent: dict[int, tuple[int, ...]] = {}
        self._being_merged: dict[int, tuple[int, ...]] = {}
        self._adding = Lock()
        self._read_logs: set[str] = set()
        self._generation = ""
        self._last_segment = 0
        self._rows = 0

    def load(self) -> None:
        """Read all logs that wait, then the ledger, so that nothing slips between."""
        self._read_new_logs(skipped_role=None)
        self._read_ledger()

    def refresh(self) -> None:
        """Bring in what other receivers and ingestion did; next to free when that is nothing."""
        self._read_new_logs(skipped_role=self._own_role)
        if len(self._recent) >= _MOST_RECENT:
            self._merge_recent()
        if ledger_generation(self._directory) != self._generation:
            self._merge_recent()
            self._read_ledger()

    def look_up(self, job: str, id_hash: int, payload_hash: int) -> Known:
        """Return whether the id was accepted for this job, and with which payload."""
        key = id_hash ^ _job_key(job)
        # In the order in which an id moves on: it cannot be missed on its way.
        recent = self._recent.get(key, ()) + self._being_merged.get(key, ())
        found = self._shards.payloads_of(key)
        if payload_hash in recent or payload_hash in found:
            return Known.SAME
        return Known.OTHER if found or recent else Known.NEW

    def add(self, job: str, id_hash: int, payload_hash: int) -> None:
        """Remember an id that this receiver has accepted durably."""
        key = id_hash ^ _job_key(job)
        with self._adding:
            payloads = self._recent.get(key)
            if payloads is None:
                self._recent[key] = (payload_hash,)
            elif payload_hash not in payloads:
                self._recent[key] = (*payloads, payload_hash)

    def is_staged(self, job: str, id_hash: int) -> bool:
        """Return whether a receiver accepted the id and the ledger does not know it yet."""
        key = id_hash ^ _job_key(job)
        is_recent = key in self._recent or key in self._being_merged
        flags = self._shards.flags_of(key)
        return all(flag == STAGED for flag in flags) if flags else is_recent

    def __len__(self) -> int:
        return len(self._shards) + len(self._recent)

    @property
    def bytes(self) -> int:
        """How much memory the index takes, without the few recent ones."""
        return self._shards.bytes

    def _merge_recent(self) -> None:
        with self._adding:
            self._being_merged, self._recent = self._recent, {}
        pairs = [(key, payload) for key, found in self._being_merged.items() for payload in found]
        if pairs:
            keys, payloads = zip(*pairs, strict=True)
            self._shards.merge(as_hashes(keys), as_hashes(payloads), STAGED)
        self._being_merged = {}

    def _read_new_logs(self, *, skipped_role: str | None) -> None:
        """Read the sealed logs; what is still written may go away again, unacknowledged."""
        logs = logs_in(self._directory.inbox)
        known = self._read_logs
        self._read_logs = {
            log.source_id
            for log in logs
            if log.source_id in known or log.role == skipped_role or self._has_read(log)
        }

    def _has_read(self, log: LogFile) -> bool:
        """Read a log; return False if it has another name by now, or is in the ledger."""
        pairs = _pairs(lines_of(log))
        try:
            while some := list(islice(pairs, _LINES_AT_A_TIME)):
                keys, payloads = zip(*some, strict=True)
                self._shards.merge(as_hashes(keys), as_hashes(payloads), STAGED)
        except FileNotFoundError:
            return False
        return True

    def _read_ledger(self) -> None:
        if not self._directory.ledger.exists():
            return
        generation = ledger_generation(self._directory)
        with snapshot(self._directory, max_age_seconds=0.0) as reader:
            rows = reader.value("SELECT count(*) FROM requests")
            added = reader.value(
                "SELECT count(*) FROM requests WHERE segment > ?", self._last_segment
            )
            if self._rows + added == rows:
                self._merge_rows(reader, after_segment=self._last_segment)
            else:  # some were forgotten: see which ones are left
                self._shards.doubt_recorded()
                self._merge_rows(reader, after_segment=0)
                self._shards.drop_doubtful()
            self._rows = rows
            self._last_segment = reader.value("SELECT max(segment) FROM requests") or 0
        self._generation = generation

    def _merge_rows(self, reader: Transaction, *, after_segment: int) -> None:
        job_keys = _job_keys(reader)
        for first, last in _segment_ranges(reader, after_segment):
            rows = reader.frame(
                "SELECT job_id, id_hash, payload_hash FROM requests "
                f"WHERE segment BETWEEN ? AND ? AND job_id IN ({_THEIR_NUMBERS})",
                first,
                last,
            )
            if rows.height:
                keys = rows["id_hash"].to_numpy() ^ job_keys[rows["job_id"].to_numpy()]
                self._shards.merge(keys, rows["payload_hash"].to_numpy(), RECORDED)


@lru_cache(maxsize=10_000)
def _job_key(job: str) -> int:
    return xxh3_64_intdigest(job.encode())


def _job_keys(reader: Transaction) -> Hashes:
    """Return the key of each job that a receiver can name, at the place of its id."""
    jobs = reader.rows(_JOBS_OF_RECEIVERS)
    keys = np.zeros(max((job["job_id"] for job in jobs), default=0) + 1, np.uint64)
    for job in jobs:
        keys[job["job_id"]] = _job_key(DEFAULT_JOB if job["endless"] else job["label"])
    return keys


def _segment_ranges(reader: Transaction, after_segment: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of segments whose rows fit into memory together."""
    counts = reader.rows(
        "SELECT segment, count(*) AS rows FROM requests WHERE segment > ? "
        f"AND job_id IN ({_THEIR_NUMBERS}) GROUP BY segment ORDER BY segment",
        after_segment,
    )
    first, rows = 0, 0
    for number, row in enumerate(counts):
        rows += row["rows"]
        if rows >= _ROWS_AT_A_TIME or number == len(counts) - 1:
            yield counts[first]["segment"], row["segment"]
            first, rows = number + 1, 0


def _pairs(lines: Iterable[ReceivedLine]) -> Iterator[tuple[int, int]]:
    for received in lines:
        request = read_request(received.line, _RULES)
        if isinstance(request, ReadRequest):
            yield request.id_hash ^ _job_key(received.job), request.payload_hash
