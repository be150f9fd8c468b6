"""The formats in which request files may come, told by the ending of their names."""

from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from batching.errors import BadInput
from batching.jobs import JobSettings
from storage.compression import (
    gzip_is_complete,
    unpacked_gzip,
    unpacked_zstd,
    zstd_is_complete,
)
from storage.source_bytes import SourceBytes
from storage.table_formats import csv_chunks, parquet_chunks, parquet_is_complete
from storage.text_formats import Chunk, split_lines

LONGEST_LINE_BYTES: Final = 200_000_000
"""No batch may be larger, so no line is read beyond this."""


class SourceFormat(StrEnum):
    """How the requests in a file are written."""

    JSONL = "jsonl"
    JSONL_GZIP = "jsonl.gz"
    JSONL_ZSTD = "jsonl.zst"
    CSV = "csv"
    PARQUET = "parquet"


_ENDINGS: Final = {
    ".jsonl": SourceFormat.JSONL,
    ".ndjson": SourceFormat.JSONL,
    ".jsonl.gz": SourceFormat.JSONL_GZIP,
    ".ndjson.gz": SourceFormat.JSONL_GZIP,
    ".jsonl.zst": SourceFormat.JSONL_ZSTD,
    ".ndjson.zst": SourceFormat.JSONL_ZSTD,
    ".csv": SourceFormat.CSV,
    ".parquet": SourceFormat.PARQUET,
}


def format_of(name: str) -> SourceFormat:
    """Return the format of a file by its name in any case; BadInput if it is none of ours."""
    for ending, source_format in _ENDINGS.items():
        if name.lower().endswith(ending):
            return source_format
    known = ", ".join(_ENDINGS)
    raise BadInput(f"the format of {name} is not known by its name; known are {known}")


def read_chunks(
    path: Path,
    source: SourceBytes,
    settings: JobSettings,
    *,
    first_number: int = 1,
    longest_line_bytes: int = LONGEST_LINE_BYTES,
) -> Iterator[Chunk]:
    """Yield the request lines of a file from where its bytes stand, in chunks of about a block.

    BadInput is raised for what cannot be taken in as a whole, also after some chunks.
    """
    source_format = format_of(path.name)
    if source_format is SourceFormat.CSV:
        return csv_chunks(source, settings)
    if source_format is SourceFormat.PARQUET:
        return parquet_chunks(path, source, settings)
    if source_format is SourceFormat.JSONL_GZIP:
        blocks = unpacked_gzip(source)
    elif source_format is SourceFormat.JSONL_ZSTD:
        blocks = unpacked_zstd(path, source)
    else:
        blocks = source.blocks()
    return split_lines(blocks, first_number=first_number, longest_line_bytes=longest_line_bytes)


def ends_well(path: Path) -> bool:
    """Return whether the file looks written to its end; what is unknown counts as ended."""
    try:
        source_format = format_of(path.name)
    except BadInput:
        return True
    if source_format is SourceFormat.JSONL_GZIP:
        return gzip_is_complete(path)
    if source_format is SourceFormat.JSONL_ZSTD:
        return zstd_is_complete(path)
    if source_format is SourceFormat.PARQUET:
        return parquet_is_complete(path)
    return _ends_with_a_newline(path)


def lines_at(
    path: Path, numbers: Collection[int], settings: JobSettings | None = None
) -> dict[int, bytes]:
    """Return the raw text of these lines (of a table: the request lines of these rows)."""
    wanted, last = frozenset(numbers), max(numbers, default=0)
    found: dict[int, bytes] = {}
    with SourceBytes(path) as source:
        for chunk in read_chunks(path, source, settings or JobSettings()):
            found |= {
                number: line.removesuffix(b"\r")
                for number, line in zip(chunk.numbers, chunk.lines, strict=True)
                if number in wanted
            }
            if chunk.numbers and chunk.numbers[-1] >= last:
                break
    return found


def _ends_with_a_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) == b"\n"
