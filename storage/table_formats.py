"""Reading CSV and Parquet sources row by row, as request lines."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from batching.errors import BadInput
from batching.jobs import JobSettings
from batching.line_faults import Refusal, RefusalCode
from storage.source_bytes import BLOCK_BYTES, SourceBytes
from storage.table_rows import RowReader
from storage.text_formats import Chunk, RefusedLine

_ROWS_A_CHUNK: Final = 1_000
_BYTES_A_CHUNK: Final = 1_000_000
_LONGEST_CELL: Final = 200_000_000
_LEAST_PARQUET_BYTES: Final = 12

_Row = Mapping[str, Any]


def csv_chunks(source: SourceBytes, settings: JobSettings) -> Iterator[Chunk]:
    """Yield the rows of a CSV file; a row has the number of its first line in the file."""
    csv.field_size_limit(_LONGEST_CELL)
    text = io.TextIOWrapper(
        io.BufferedReader(source, BLOCK_BYTES),
        encoding="utf-8-sig",
        errors="surrogateescape",
        newline="",
    )
    rows = csv.reader(text, strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        _check_header(header)
        reader = RowReader(header, settings)
        yield from _chunks(_csv_rows(rows, header), reader)
    except csv.Error as error:
        raise BadInput(
            f"the CSV file cannot be read at line {rows.line_num}: {error}; nothing was taken in"
        ) from None
    finally:
        text.detach().detach()


def parquet_chunks(path: Path, source: SourceBytes, settings: JobSettings) -> Iterator[Chunk]:
    """Yield the rows of a Parquet file, counted from 1."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            reader = RowReader(file.schema_arrow.names, settings)
            _check_types(file.schema_arrow, reader.columns)
            yield from _chunks(_parquet_rows(file, reader.columns), reader)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"the Parquet file is cut off or damaged: {reason}") from None
    source.read_to_the_end()


def parquet_is_complete(path: Path) -> bool:
    """Return whether the file has the beginning and the end of a Parquet file."""
    with path.open("rb") as file:
        begins = file.read(4) == b"PAR1"
        size = file.seek(0, 2)
        if not begins or size < _LEAST_PARQUET_BYTES:
            return False
        file.seek(-8, 2)
        end = file.read(8)
    return end[4:] == b"PAR1" and int.from_bytes(end[:4], "little") <= size - _LEAST_PARQUET_BYTES


def _check_header(header: list[str]) -> None:
    names = [name.strip().lower() for name in header]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"the CSV file names a column twice: {', '.join(repeated)}")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise BadInput("the CSV file separates its columns with something else than commas")


def _csv_rows(rows: Any, header: list[str]) -> Iterator[tuple[int, _Row | list[str]]]:
    first_line = rows.line_num + 1
    for cells in rows:
        if cells:
            fits = len(cells) == len(header)
            yield first_line, dict(zip(header, cells, strict=True)) if fits else cells
        first_line = rows.line_num + 1


def _check_types(schema: Any, columns: Iterable[str]) -> None:
    for name in columns:
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(kind):
            raise BadInput(f"the column {name} holds {kind}; write it as JSON text instead")


def _parquet_rows(file: Any, columns: list[str]) -> Iterator[tuple[int, _Row]]:
    number = 1
    for batch in file.iter_batches(_rows_a_batch(file), columns=columns):
        values = [_values(batch.column(name)) for name in columns]
        for cells in zip(*values, strict=True):
            yield number, dict(zip(columns, cells, strict=True))
            number += 1


def _rows_a_batch(file: Any) -> int:
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    rows: int = sum(group.num_rows for group in groups)
    size: int = sum(group.total_byte_size for group in groups)
    return max(1, min(_ROWS_A_CHUNK, _BYTES_A_CHUNK * rows // max(size, 1)))


def _values(column: Any) -> list[Any]:
    """Return the cells; text that is not UTF-8 comes through, to be refused by its line."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.cast(kind).cast(pa.large_binary())
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for value in column.to_pylist()
    ]


def _chunks(rows: Iterable[tuple[int, Any]], reader: RowReader) -> Iterator[Chunk]:
    numbers: list[int] = []
    lines: list[bytes] = []
    refused: list[RefusedLine] = []
    size = 0
    for number, row in rows:
        line = _misfit(row) if isinstance(row, list) else reader.line_of(number, row)
        if isinstance(line, Refusal):
            refused.append(RefusedLine(number=number, refusal=line, raw=_raw(row)))
        else:
            numbers.append(number)
            lines.append(line)
            size += len(line)
        if len(lines) + len(refused) >= _ROWS_A_CHUNK or size >= _BYTES_A_CHUNK:
            yield Chunk(numbers=numbers, lines=lines, refused=tuple(refused))
            numbers, lines, refused, size = [], [], [], 0
    if lines or refused:
        yield Chunk(numbers=numbers, lines=lines, refused=tuple(refused))


def _misfit(cells: list[str]) -> Refusal:
    reason = f"the row has {len(cells)} cells, which is not what the header has"
    return Refusal(code=RefusalCode.INVALID_ROW, reason=reason)


def _raw(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogateescape")
