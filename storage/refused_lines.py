"""The lines of a job that were not accepted, as they lie in `rejected/`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from storage.directory import DataDirectory
from storage.ledger import Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedLines:
    """The refused lines of one source."""

    source: str
    """The name of the file as it was brought."""
    stored: str
    """The name of the file in `rejected/`."""
    count: int


def refused_of_job(reader: Transaction, job: str) -> list[RefusedLines]:
    """Return the sources of a job with lines that were refused, the newest first."""
    rows = reader.rows(_REFUSED, job)
    return [
        RefusedLines(source=row["name"], stored=row["stored"], count=row["rejected"])
        for row in rows
    ]


def refused_lines(
    directory: DataDirectory, sources: Sequence[RefusedLines]
) -> Iterator[dict[str, Any]]:
    """Yield `source`, `line`, `code`, `reason` and `raw` of each line that is still kept."""
    for source in sources:
        try:
            file = (directory.rejected / source.stored).open("rb")
        except FileNotFoundError:
            continue
        with file:
            for line in file:
                yield {"source": source.source, **msgspec.json.decode(line)}


def first_refused_lines(
    directory: DataDirectory, sources: Sequence[RefusedLines], *, most: int
) -> list[dict[str, Any]]:
    """Return the first of these lines."""
    return list(islice(refused_lines(directory, sources), most))


_REFUSED = """
SELECT name, rejected, source_id || '__' || name
    || CASE WHEN part > 1 THEN '-' || part ELSE '' END || '.jsonl' AS stored
FROM sources WHERE rejected > 0 AND job_id = (SELECT job_id FROM jobs WHERE jobs.name = ?)
ORDER BY taken_in_at DESC, part DESC
"""
