"""Whether the demo kept its word: the outbox compared with the inputs, by reading both anew."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batching.jobs import job_name_of, slug
from deployments.cli.surroundings import reading
from storage.directory import DataDirectory
from storage.inquiries import requests_that_ran_again
from storage.reports.progress import batches_by_state

_OK = range(200, 300)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Something that must be true, with the figures that show it."""

    claim: str
    holds: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """What the provider says it did and was paid for."""

    batches_created: int
    lines_paid: int
    bodies_paid_twice: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One input file and what came out for it."""

    name: str
    lines: int
    rejected: dict[int, str]
    accepted_ids: list[str]
    delivered: list[dict[str, Any]]
    in_input_order: list[str]


def checks_of(directory: DataDirectory, files: Sequence[Path], books: Books) -> list[Check]:
    """Return everything that was promised and whether it holds."""
    jobs = [_read_job(directory, path) for path in files]
    return [
        _every_line(jobs),
        _exactly_once(jobs),
        _input_order(jobs),
        *_outcomes(jobs),
        *_money(directory, jobs, books),
    ]


def _read_job(directory: DataDirectory, path: Path) -> _Job:
    lines = _ids_by_line(path)
    rejected = _rejected_lines(directory, path.name)
    folder = directory.outbox / slug(job_name_of(path.name))
    sorted_lines = _json_lines(folder / "results.sorted.jsonl")
    return _Job(
        name=path.name,
        lines=len(lines),
        rejected=rejected,
        accepted_ids=[found or "" for line, found in lines.items() if line not in rejected],
        delivered=_json_lines(folder / "results.jsonl"),
        in_input_order=[line["custom_id"] for line in sorted_lines],
    )


def _ids_by_line(path: Path) -> dict[int, str | None]:
    """Return the custom_id of every line by its number, None where it cannot be read."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return {number: row["custom_id"] for number, row in enumerate(csv.DictReader(file), 2)}
        return {number: _id_in(line) for number, line in enumerate(file, 1)}


def _id_in(line: str) -> str | None:
    try:
        return str(json.loads(line)["custom_id"])
    except ValueError:
        return None


def _rejected_lines(directory: DataDirectory, name: str) -> dict[int, str]:
    return {
        record["line"]: record["reason"]
        for path in directory.rejected.glob(f"*__{name}.jsonl")
        for record in _json_lines(path)
    }


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [json.loads(line) for line in file]


def _every_line(jobs: Sequence[_Job]) -> Check:
    lines, rejected = sum(job.lines for job in jobs), sum(len(job.rejected) for job in jobs)
    accepted = sum(len(job.accepted_ids) for job in jobs)
    return Check(
        claim=f"{lines:,} lines came in: {accepted:,} requests were accepted, {rejected} bad lines "
        "are listed with number and reason",
        holds=accepted + rejected == lines and rejected > 0,
    )


def _exactly_once(jobs: Sequence[_Job]) -> Check:
    delivered = sum(len(job.delivered) for job in jobs)
    return Check(
        claim=f"{delivered:,} results are in the outbox: every accepted custom_id exactly once",
        holds=delivered > 0
        and all(
            Counter(line["custom_id"] for line in job.delivered) == Counter(job.accepted_ids)
            and len(set(job.accepted_ids)) == len(job.accepted_ids)
            for job in jobs
        ),
    )


def _input_order(jobs: Sequence[_Job]) -> Check:
    return Check(
        claim="results.sorted.jsonl has the results in the order of the input",
        holds=all(job.in_input_order == job.accepted_ids for job in jobs),
    )


def _outcomes(jobs: Sequence[_Job]) -> list[Check]:
    codes = Counter(_status(line) for job in jobs for line in job.delivered)
    succeeded = sum(count for code, count in codes.items() if code in _OK)
    failed = codes.total() - succeeded
    return [
        Check(
            claim=f"{succeeded:,} answers; {failed} error lines (all of them 400) are there too",
            holds=succeeded > 0 and failed > 0 and codes[400] == failed,
        )
    ]


def _status(line: dict[str, Any]) -> int:
    """Return the HTTP status that a line tells; 0 if it tells none."""
    return int((line.get("response") or {}).get("status_code") or 0)


def _money(directory: DataDirectory, jobs: Sequence[_Job], books: Books) -> list[Check]:
    with reading(directory) as reader:
        again = requests_that_ran_again(reader) if reader is not None else 0
        batches = sum(batches_by_state(reader).values()) if reader is not None else 0
    answers = sum(_status(line) in _OK for job in jobs for line in job.delivered)
    return [
        Check(
            claim=f"{again} requests failed with 429 or 500 and succeeded when they ran again",
            holds=again > 0,
        ),
        Check(
            claim=f"the provider's books agree: {books.batches_created} batches created, "
            f"{books.lines_paid:,} lines paid, none of them twice",
            holds=books == Books(batches_created=batches, lines_paid=answers, bodies_paid_twice=0),
        ),
    ]
