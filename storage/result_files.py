"""Result files: `results/<batch>.parquet`, the truth about every answer.

The wire line is kept byte for byte; every other column is derived from it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow.parquet as pq

from batching.errors import BadInput
from batching.result_lines import OddLine, OwnCode, ResultLine, own_result_line, read_result_line
from batching.stopping import check_stop
from storage.answer_files import storable_status, storable_tokens
from storage.directory import DataDirectory
from storage.durable import written_durably

_OWN_CODES = {code.value: code for code in OwnCode}
AFTER_BATCH_KEY: Final = "obm.after_batch"
ROWS_A_GROUP = 2_000
BYTES_A_GROUP = 4 << 20

COLUMNS: Final[Mapping[str, Any]] = {
    "segment": pl.Int32,
    "row_index": pl.Int32,
    "job_id": pl.Int32,
    "destination_id": pl.Int32,
    "custom_id": pl.String,
    "status": pl.String,
    "status_code": pl.Int16,
    "error_code": pl.String,
    "error_message": pl.String,
    "model": pl.String,
    "finish_reason": pl.String,
    "input_tokens": pl.Int32,
    "cached_tokens": pl.Int32,
    "output_tokens": pl.Int32,
    "reasoning_tokens": pl.Int32,
    "request_id": pl.String,
    "content": pl.String,
    "id_start": pl.Int32,
    "id_end": pl.Int32,
    "line": pl.Binary,
}
_ARROW = pl.CompatLevel.oldest()
_SCHEMA = pl.DataFrame(schema=COLUMNS).to_arrow(compat_level=_ARROW).schema
_PLAIN = ["line", "content", "custom_id", "request_id"]
_DICTIONARY = [name for name in COLUMNS if name not in _PLAIN]


def result_path(directory: DataDirectory, result_id: int) -> Path:
    """Return where results are kept: by batch, or `own-…` for those made here."""
    name = f"{result_id:06d}" if result_id >= 0 else f"own-{-result_id:06d}"
    return directory.results / f"{name}.parquet"


def result_number(path: Path) -> int | None:
    """Return the number of a result file, below zero for one made here; None if it is none."""
    digits = path.stem.removeprefix("own-")
    if path.suffix != ".parquet" or not digits.isdecimal():
        return None
    return -int(digits) if path.stem.startswith("own-") else int(digits)


def delivered_line(line: bytes, id_start: int, id_end: int, custom_id: str) -> bytes:
    """Return the provider's line with the user's custom_id in place of the wire id."""
    return line[:id_start] + msgspec.json.encode(custom_id) + line[id_end:]


def write_provider_results(target: Path, finals: pl.DataFrame, files: Mapping[int, Path]) -> int:
    """Write the results of these requests, in their order; return the bytes of the file.

    `finals` has the place of each line (`file`, `offset`, `length`), as `reconcile` gives it.
    """
    handles = {file: os.open(path, os.O_RDONLY) for file, path in files.items()}
    try:
        return _write(target, (_provider_rows(group, handles) for group in _groups(finals)))
    finally:
        for handle in handles.values():
            os.close(handle)


def write_own_results(
    target: Path, finals: Iterator[pl.DataFrame], *, after_batch: int | None = None
) -> int:
    """Write results for requests that no provider line exists for; return the file's bytes.

    Each frame has segment, row_index, job_id, custom_id, state, own_code and detail. The file
    says after which batch it was written: a request of it that is in a later one was sent again.
    """
    groups = (_own_rows(group) for frame in finals for group in _slices(frame))
    told = {} if after_batch is None else {AFTER_BATCH_KEY: str(after_batch)}
    return _write(target, groups, told)


def _write(
    target: Path, groups: Iterator[dict[str, list[Any]]], metadata: Mapping[str, str] | None = None
) -> int:
    with (
        written_durably(target) as file,
        pq.ParquetWriter(
            file,
            _SCHEMA,
            compression="zstd",
            compression_level=1,
            use_dictionary=_DICTIONARY,
            write_statistics=["segment", "row_index", "job_id"],
            store_schema=False,
        ) as writer,
    ):
        if metadata:
            writer.add_key_value_metadata(dict(metadata))
        for columns in groups:
            check_stop()
            writer.write_table(_as_table(columns))
    return target.stat().st_size


def _as_table(columns: Mapping[str, Any]) -> Any:
    """Return the columns as Arrow (by Polars: Arrow's own builders would load pandas first)."""
    return pl.DataFrame(columns, schema=COLUMNS).to_arrow(compat_level=_ARROW)


def _groups(finals: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut the rows so that no group holds more than a few megabytes of lines."""
    keys = finals.select(
        pl.struct(
            pl.col("length").cast(pl.Int64).cum_sum() // BYTES_A_GROUP,
            pl.int_range(pl.len()).alias("rows") // ROWS_A_GROUP,
        )
    ).to_series()
    first = 0
    for rows in keys.rle().struct.field("len"):
        yield finals.slice(first, rows)
        first += rows


def _slices(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    yield from frame.iter_slices(ROWS_A_GROUP)


def _provider_rows(group: pl.DataFrame, handles: Mapping[int, int]) -> dict[str, list[Any]]:
    places = zip(group["file"], group["offset"], group["length"], strict=True)
    lines = [os.pread(handles[file], length, offset) for file, offset, length in places]
    return _columns(group, lines, [_read(line) for line in lines], group["state"].to_list())


def _own_rows(group: pl.DataFrame) -> dict[str, list[Any]]:
    told = zip(group["custom_id"], group["own_code"], group["detail"], strict=True)
    lines = [
        own_result_line(custom_id, _OWN_CODES[code], detail) for custom_id, code, detail in told
    ]
    return _columns(group, lines, [_read(line) for line in lines], group["state"].to_list())


def _read(line: bytes) -> ResultLine:
    found = read_result_line(line)
    if isinstance(found, OddLine):
        raise BadInput(f"a line that was a result before is none now: {found.reason}")
    return found


def _columns(
    group: pl.DataFrame, lines: Sequence[bytes], read: Sequence[ResultLine], states: Sequence[str]
) -> dict[str, list[Any]]:
    usages = [line.usage for line in read]
    return {
        "segment": group["segment"].to_list(),
        "row_index": group["row_index"].to_list(),
        "job_id": group["job_id"].to_list(),
        "destination_id": group["destination_id"].to_list(),
        "custom_id": group["custom_id"].to_list(),
        "status": list(states),
        "status_code": [storable_status(line.status_code) for line in read],
        "error_code": [line.error_code for line in read],
        "error_message": [line.error_message for line in read],
        "model": [line.model for line in read],
        "finish_reason": [line.finish_reason for line in read],
        "input_tokens": [usage and storable_tokens(usage.input_tokens) for usage in usages],
        "cached_tokens": [usage and storable_tokens(usage.cached_tokens) for usage in usages],
        "output_tokens": [usage and storable_tokens(usage.output_tokens) for usage in usages],
        "reasoning_tokens": [usage and storable_tokens(usage.reasoning_tokens) for usage in usages],
        "request_id": [line.request_id for line in read],
        "content": [line.content for line in read],
        "id_start": [line.id_start for line in read],
        "id_end": [line.id_end for line in read],
        "line": list(lines),
    }
