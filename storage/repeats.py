"""Finding the rows of new segments whose custom_id their job has already."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from storage.ledger import Ledger, Transaction
from storage.segments import WrittenSegment


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """A row of a new segment whose custom_id its job has already."""

    segment: int
    row_index: int
    line: int
    custom_id: str
    same_payload: bool
    earlier_line: int | None
    """The line of the same source that had it first, or None if it was another source."""

    @property
    def is_replay(self) -> bool:
        """Whether it says again what an earlier source said: nothing to do, nothing wrong."""
        return self.same_payload and self.earlier_line is None


def find_repeats(
    ledger: Ledger,
    segments: Sequence[WrittenSegment],
    *,
    id_hashes: "np.ndarray[Any, np.dtype[np.uint64]]",
    job_id: int | None,
) -> list[Repeat]:
    """Return the rows of new segments whose custom_id occurs earlier in the job.

    The hashes decide in one sorted pass who is suspect; only suspects are compared by text.
    """
    if not segments:
        return []
    suspects = _repeated_values(id_hashes)
    with ledger.transaction() as reader:
        known: dict[str, int] = {}
        if job_id is not None:
            hashes = pl.DataFrame({"id_hash": np.unique(id_hashes)})
            with reader.table("new_hashes", hashes):
                known_frame = reader.frame(
                    "SELECT custom_id, id_hash, payload_hash FROM requests "
                    "WHERE job_id = ? AND id_hash IN (SELECT id_hash FROM new_hashes) "
                    "ORDER BY segment, row_index",
                    job_id,
                )
            suspects = np.union1d(suspects, known_frame["id_hash"].to_numpy())
            known = dict(zip(known_frame["custom_id"], known_frame["payload_hash"], strict=True))
        if not len(suspects):
            return []
        with reader.table("suspects", pl.DataFrame({"id_hash": suspects})):
            rows = [row for segment in segments for row in _suspect_rows(reader, segment)]
    return list(_repeats(rows, known))


def _repeated_values(
    hashes: "np.ndarray[Any, np.dtype[np.uint64]]",
) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _suspect_rows(reader: Transaction, segment: WrittenSegment) -> list[dict[str, Any]]:
    return reader.rows(
        "SELECT ?::INTEGER AS segment, file_row_number::INTEGER AS row_index, line, custom_id, "
        "payload_hash FROM read_parquet(?, file_row_number = true) "
        "WHERE id_hash IN (SELECT id_hash FROM suspects) ORDER BY file_row_number",
        segment.number, segment.path,
    )  # fmt: skip


def _repeats(rows: list[dict[str, Any]], known: dict[str, int]) -> Iterator[Repeat]:
    first_lines: dict[str, int] = {}
    payloads = dict(known)
    for row in rows:
        custom_id = row["custom_id"]
        if custom_id not in payloads:
            payloads[custom_id] = row["payload_hash"]
            first_lines[custom_id] = row["line"]
            continue
        yield Repeat(
            segment=row["segment"],
            row_index=row["row_index"],
            line=row["line"],
            custom_id=custom_id,
            same_payload=payloads[custom_id] == row["payload_hash"],
            earlier_line=first_lines.get(custom_id),
        )
