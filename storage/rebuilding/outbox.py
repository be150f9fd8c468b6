"""Finding delivered parts again: whose lines stand in the outbox already are not appended anew.

Parts follow each other in a file without a gap, so each is looked for where the last one ends.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import ArrowException

from batching.stopping import check_stop
from storage.ledger import Ledger, Transaction, now
from storage.outbox import delivered_lines, file_number, part_label, rows_of_part
from storage.result_files import result_path

_SORTED = "results.sorted.jsonl"


def find_delivered_parts(ledger: Ledger) -> int:
    """Record every pending part that stands in the outbox; return how many.

    The others are due now. Nobody else may deliver meanwhile.
    """
    found = 0
    with ledger.transaction() as reader:
        waiting = reader.rows(
            "SELECT part_id, result_id, job_id, slug, endless FROM parts JOIN jobs USING (job_id) "
            "WHERE state = 'pending' ORDER BY job_id, part_id"
        )
    by_folder: dict[str, list[dict[str, Any]]] = {}
    for part in waiting:
        for folder in _folders(ledger.directory.outbox, part):
            by_folder.setdefault(folder, []).append(part)
    for folder, parts in by_folder.items():
        places = list(_places(ledger, folder, parts))
        found += len(places)
        with ledger.transaction() as transaction:
            for place in places:
                _record(transaction, folder, place)
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE parts SET next_attempt_at = NULL WHERE state = 'pending' "
            "AND next_attempt_at >= TIMESTAMP '9999-01-01'"
        )
    return found


def _folders(outbox: Path, part: dict[str, Any]) -> list[str]:
    """Return the folders that say that the part was delivered to them."""
    name = f"parts/part-{part_label(part['result_id'])}.parquet"
    root = outbox / part["slug"]
    places = sorted(root.glob(f"*/{name}")) if part["endless"] else [root / name]
    return [str(place.parent.parent.relative_to(outbox)) for place in places if place.exists()]


def _places(ledger: Ledger, folder: str, parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    outbox = ledger.directory.outbox / folder
    left = sorted(parts, key=lambda part: _delivered_at(outbox, part))
    for file in sorted(
        (path for path in outbox.glob("results*.jsonl") if path.name != _SORTED),
        key=lambda path: file_number(path.name),
    ):
        start = _recorded_end(ledger, folder, file.name)
        while (place := _next(ledger, file, start, left)) is not None:
            check_stop()
            left.remove(place["part"])
            yield place
            start = place["end_offset"]


def _delivered_at(outbox: Path, part: dict[str, Any]) -> float:
    return (outbox / f"parts/part-{part_label(part['result_id'])}.parquet").stat().st_mtime


def _recorded_end(ledger: Ledger, folder: str, file: str) -> int:
    with ledger.transaction() as reader:
        return int(
            reader.value(
                "SELECT coalesce(max(end_offset), 0) FROM parts "
                "WHERE folder = ? AND file = ? AND state = 'delivered'",
                folder, file,
            )
        )  # fmt: skip


def _next(
    ledger: Ledger, file: Path, start: int, parts: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the part that stands at this place of a file."""
    if file.stat().st_size <= start:
        return None
    for part in parts:
        end = _end_if_there(
            file, start, result_path(ledger.directory, part["result_id"]), part["job_id"]
        )
        if end is not None:
            return {"part": part, "file": file.name, "start_offset": start, "end_offset": end}
    return None


def _end_if_there(file: Path, start: int, source: Path, job_id: int) -> int | None:
    try:
        with file.open("rb") as lines:
            lines.seek(start)
            for rows in rows_of_part(source, job_id):
                wanted = b"".join(delivered_lines(rows))
                if lines.read(len(wanted)) != wanted:
                    return None
            return lines.tell()
    except (OSError, ArrowException):
        return None


def _record(transaction: Transaction, folder: str, place: dict[str, Any]) -> None:
    transaction.execute(
        "UPDATE parts SET state = 'delivered', attempts = attempts + 1, folder = ?, file = ?, "
        "start_offset = ?, end_offset = ?, delivered_at = ?, problem = NULL, "
        "next_attempt_at = NULL WHERE part_id = ? AND state = 'pending'",
        folder, place["file"], place["start_offset"], place["end_offset"], now(),
        place["part"]["part_id"],
    )  # fmt: skip
