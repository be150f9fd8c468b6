"""The outbox holds each delivered line exactly once: parts follow each other without a gap.

A file that its owner has taken away or cut is his; the next results begin another one.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from storage.doctor.examination import Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind, Severity

_BLOCK_BYTES: Final = 4 << 20
_WRITE_ANEW: Final = (
    "The results are safe in results/ as long as retention keeps them: "
    "`obm results JOB --output FILE` writes them anew, each once."
)


def _kind(code: str, explanation: str, severity: Severity = Severity.FAULT) -> Kind:
    return Kind(
        check=Check.OUTBOX, code=code, severity=severity, explanation=explanation,
        remedy=_WRITE_ANEW,
    )  # fmt: skip


_RULES: Final = (
    Rule(
        kind=_kind(
            "outbox_chain",
            "Parts of an outbox file do not follow each other: bytes between them belong to "
            "nobody, or to two of them, so lines are missing or stand there twice.",
        ),
        sql="""
        SELECT folder || '/' || file || ' part ' || part_id AS id FROM (
            SELECT *, lag(end_offset, 1, 0) OVER (
                PARTITION BY folder, file ORDER BY start_offset, end_offset) AS expected
            FROM parts WHERE state = 'delivered' AND file IS NOT NULL)
        WHERE start_offset IS DISTINCT FROM expected OR end_offset < start_offset
        """,
    ),
)
_LINES: Final = _kind(
    "outbox_lines",
    "A part of an outbox file has another number of lines than results were delivered with it.",
)
_CUT: Final = _kind(
    "outbox_cut",
    "An outbox file is shorter than what was delivered to it. If you have cut or emptied it, all "
    "is well; if not, the disk has lost a part of it.",
    Severity.WARNING,
)


def check_outbox(examination: Examination) -> Iterator[Finding]:
    """Yield files and parts of the outbox that do not hold what was delivered."""
    yield from apply(examination.reader, _RULES)
    files: dict[str, list[dict[str, Any]]] = {}
    for part in examination.reader.rows(
        "SELECT part_id, folder || '/' || file AS file, rows, start_offset, end_offset FROM parts "
        "WHERE state = 'delivered' AND file IS NOT NULL AND folder IS NOT NULL "
        "AND end_offset >= start_offset ORDER BY folder, file, start_offset"
    ):
        files.setdefault(part["file"], []).append(part)
    moved = cut = 0
    wrong: list[str] = []
    cut_names: list[str] = []
    for name, parts in files.items():
        path = examination.directory.outbox / name
        size = _size(path)
        if size is None:
            moved += 1
        elif size < parts[-1]["end_offset"]:
            cut += 1
            cut_names.append(name)
        else:
            wrong += [f"{name} part {part['part_id']}" for part in _wrong_parts(path, parts)]
    if moved:
        examination.notes.append(
            f"{moved:,} file{'s' * (moved > 1)} of the outbox {'were' if moved > 1 else 'was'} "
            "taken away by somebody, or forgotten by retention"
        )
    if wrong:
        yield _LINES.found(wrong)
    if cut_names:
        yield _CUT.found(cut_names, count=cut)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _wrong_parts(path: Path, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts in which not as many whole lines stand as were delivered."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return []
    try:
        return [part for part in parts if not _has_its_lines(descriptor, part)]
    finally:
        os.close(descriptor)


def _has_its_lines(descriptor: int, part: dict[str, Any]) -> bool:
    at, end, lines, last = part["start_offset"], part["end_offset"], 0, b"\n"
    while at < end:
        block = os.pread(descriptor, min(_BLOCK_BYTES, end - at), at)
        if not block:
            return False
        lines, at, last = lines + block.count(b"\n"), at + len(block), block[-1:]
    return bool(lines == part["rows"] and last == b"\n")
