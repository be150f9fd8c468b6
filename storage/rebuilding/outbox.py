"""Finding delivered parts again: whose lines stand in the outbox already are not appended anew.

Parts follow each other in a file without a gap, so each is looked for where the last one ends.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyarrow import ArrowException

from batching.stopping import check_stop
from storage.ledger import Ledger, Transaction, now
from storage.outbox import HELD_UNTIL, delivered_lines, file_number, part_label, rows_of_part
from storage.result_files import result_path

_SORTED = "results.sorted.jsonl"


def find_delivered_parts(ledger: Ledger) -> int:
    """Record every pending part that stands in the outbox; return how many.

    The others are due now. One that stands there half, from a crash, is written anew from its
    beginning. Nobody else may deliver meanwhile.
    """
    found = 0
    with ledger.transaction() as reader:
        waiting = reader.rows(
            "SELECT part_id, result_id, job_id, slug, endless FROM parts JOIN jobs USING (job_id) "
            "WHERE state = 'pending' ORDER BY job_id, part_id"
        )
    for parts in _by_job(waiting):
        for folder in _folders(ledger.directory.outbox, parts[0]):
            places = list(_places(ledger, folder, parts))
            for place in places:
                parts.remove(place["part"])
            found += sum(place["end_offset"] is not None for place in places)
            with ledger.transaction() as transaction:
                for place in places:
                    _record(transaction, folder, place)
    with ledger.transaction() as transaction:
        transaction.execute(
            "UPDATE parts SET next_attempt_at = NULL WHERE state = 'pending' "
            f"AND next_attempt_at >= TIMESTAMP '{HELD_UNTIL}'"
        )
    return found


def _by_job(parts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for part in parts:
        grouped.setdefault(part["job_id"], []).append(part)
    return list(grouped.values())


def _folders(outbox: Path, part: dict[str, Any]) -> list[str]:
    """Return the folders of a job; one that never ends has one a day."""
    root = outbox / part["slug"]
    places = sorted(root.glob("*/results*.jsonl")) if part["endless"] else [root / "results.jsonl"]
    folders = dict.fromkeys(place.parent for place in places if place.parent.is_dir())
    return [str(folder.relative_to(outbox)) for folder in folders]


def _places(ledger: Ledger, folder: str, parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield where parts stand; without an end for one that stands there half."""
    outbox = ledger.directory.outbox / folder
    whole = sorted(
        (part for part in parts if _table_of(outbox, part).exists()),
        key=lambda part: _table_of(outbox, part).stat().st_mtime,
    )
    half = [part for part in parts if part not in whole]
    for file in sorted(
        (path for path in outbox.glob("results*.jsonl") if path.name != _SORTED),
        key=lambda path: file_number(path.name),
    ):
        start = _recorded_end(ledger, folder, file.name)
        while (place := _next(ledger, file, start, whole)) is not None:
            check_stop()
            whole.remove(place["part"])
            yield place
            start = place["end_offset"]
        if (begun := _next(ledger, file, start, half, cut_short=True)) is not None:
            half.remove(begun["part"])
            yield begun


def _table_of(outbox: Path, part: dict[str, Any]) -> Path:
    """Return the file that is there as soon as all lines of a part are."""
    return outbox / "parts" / f"part-{part_label(part['result_id'])}.parquet"


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
    ledger: Ledger,
    file: Path,
    start: int,
    parts: list[dict[str, Any]],
    *,
    cut_short: bool = False,
) -> dict[str, Any] | None:
    """Return the part that stands at this place of a file, or of which the beginning does."""
    if file.stat().st_size <= start:
        return None
    for part in parts:
        source = result_path(ledger.directory, part["result_id"])
        end = _end_if_there(file, start, source, part["job_id"], cut_short=cut_short)
        if end is not None:
            return {
                "part": part, "file": file.name, "start_offset": start,
                "end_offset": None if cut_short else end,
            }  # fmt: skip
    return None


def _end_if_there(
    file: Path, start: int, source: Path, job_id: int, *, cut_short: bool
) -> int | None:
    try:
        with file.open("rb") as lines:
            lines.seek(start)
            for rows in rows_of_part(source, job_id):
                wanted = b"".join(delivered_lines(rows))
                found = lines.read(len(wanted))
                if cut_short and len(found) < len(wanted):
                    return lines.tell() if wanted.startswith(found) else None
                if found != wanted:
                    return None
            return lines.tell()
    except (OSError, ArrowException):
        return None


def _record(transaction: Transaction, folder: str, place: dict[str, Any]) -> None:
    """Record where a part was delivered to, or where it begins and is to be written anew."""
    delivered = place["end_offset"] is not None
    transaction.execute(
        "UPDATE parts SET folder = $1, file = $2, start_offset = $3, end_offset = $4, "
        "state = CASE WHEN $5 THEN 'delivered' ELSE state END, "
        "attempts = attempts + $5::INTEGER, delivered_at = CASE WHEN $5 THEN $6::TIMESTAMP END, "
        "problem = NULL, next_attempt_at = NULL WHERE part_id = $7 AND state = 'pending'",
        folder, place["file"], place["start_offset"], place["end_offset"], delivered, now(),
        place["part"]["part_id"],
    )  # fmt: skip
