"""Compares what stands in the outbox, byte for byte, with the results that were delivered there."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from storage.destinations import FILE
from storage.doctor.examination import Examination
from storage.doctor.findings import MOST_IDS, Check, Finding, Kind
from storage.result_files import delivered_line

_CHANGED: Final = Kind(
    check=Check.OUTBOX,
    code="outbox_changed",
    explanation="The lines of the outbox at the recorded place are not the results that were "
    "delivered there, or not each of them once: the file was edited, replaced or damaged.",
    remedy="The results are safe in results/: `obm results JOB --output FILE` writes them anew, "
    "each once.",
)


@dataclass(slots=True)
class _Place:
    """Where the next line of a part must stand."""

    part_id: int
    descriptor: int
    offset: int
    end: int
    is_right: bool = True


class DeliveredLines:
    """Follows the parts of one result file at a time through the outbox."""

    def __init__(self, examination: Examination) -> None:
        self._outbox = examination.directory.outbox
        self._parts: dict[int, list[dict[str, Any]]] = {}
        for row in examination.reader.rows(
            "SELECT part_id, job_id, result_id, state, rows, folder, file, start_offset, "
            "end_offset FROM parts WHERE result_id IN (SELECT DISTINCT result_id FROM requests) "
            "OR state = 'pending' ORDER BY part_id"
        ):
            self._parts.setdefault(row["result_id"], []).append(row)
        self._places: dict[int, _Place] = {}
        self._changed: list[str] = []

    def parts_of(self, result_id: int) -> list[dict[str, Any]]:
        """Return the parts that take their lines from this result file."""
        return self._parts.get(result_id, [])

    def begin(self, result_id: int) -> None:
        """Open the files in which the results of this result file stand."""
        self._close()
        for part in self.parts_of(result_id):
            if part["state"] != "delivered" or part["job_id"] in self._places:
                continue
            place = self._place(part)
            if place is not None:
                self._places[part["job_id"]] = place

    def compare(self, rows: pl.DataFrame) -> None:
        """Go on with these rows of the result file."""
        if not self._places:
            return
        in_files = rows.filter(pl.col("destination_id") == FILE)
        for (job_id,), mine in in_files.group_by("job_id", maintain_order=True):
            place = self._places.get(int(str(job_id)))
            if place is not None and place.is_right:
                _compare(place, mine)

    def end(self) -> None:
        """Note the parts that do not end where their results do."""
        for place in self._places.values():
            if not place.is_right or place.offset != place.end:
                self._changed.append(f"part {place.part_id}")
        self._close()

    def findings(self) -> Iterator[Finding]:
        """Yield what was noted."""
        self._close()
        if self._changed:
            yield _CHANGED.found(self._changed[:MOST_IDS], count=len(self._changed))

    def _place(self, part: dict[str, Any]) -> _Place | None:
        """Return where a part begins; None if its file was taken away or cut by its owner."""
        if None in (part["folder"], part["file"], part["start_offset"], part["end_offset"]):
            return None
        path = self._outbox / part["folder"] / part["file"]
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        if os.fstat(descriptor).st_size < part["end_offset"]:
            os.close(descriptor)
            return None
        return _Place(
            part_id=part["part_id"],
            descriptor=descriptor,
            offset=part["start_offset"],
            end=part["end_offset"],
        )

    def _close(self) -> None:
        for place in self._places.values():
            os.close(place.descriptor)
        self._places = {}


def _compare(place: _Place, rows: pl.DataFrame) -> None:
    columns = (rows[name].to_list() for name in ("line", "id_start", "id_end", "custom_id"))
    wanted = b"".join(
        delivered_line(line, start, end, custom_id) + b"\n"
        for line, start, end, custom_id in zip(*columns, strict=True)
    )
    place.is_right = os.pread(place.descriptor, len(wanted), place.offset) == wanted
    place.offset += len(wanted)
