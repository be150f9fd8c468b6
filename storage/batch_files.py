"""The files of a batch: its manifest and the input file that the provider gets.

Both are written from segments after the claim is committed and can be written again at any
time, byte for byte the same.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import polars as pl
import pyarrow.parquet as pq

from batching.stopping import check_stop
from storage.directory import DataDirectory
from storage.durable import make_folder, written_durably
from storage.ledger import Ledger
from storage.segment_reading import read_rows
from storage.segments import segment_path


def batch_folder(directory: DataDirectory, batch_id: int) -> Path:
    """Return the folder with the files of one batch."""
    return directory.batches / f"{batch_id:06d}"


def input_path(directory: DataDirectory, batch_id: int) -> Path:
    """Return where the input file of a batch is kept until the batch is in progress."""
    return batch_folder(directory, batch_id) / "input.jsonl"


def output_path(directory: DataDirectory, batch_id: int) -> Path:
    """Return where the downloaded output file of a batch is kept."""
    return batch_folder(directory, batch_id) / "output.jsonl"


def error_path(directory: DataDirectory, batch_id: int) -> Path:
    """Return where the downloaded error file of a batch is kept."""
    return batch_folder(directory, batch_id) / "error.jsonl"


FILE_KINDS: Final = {"input": input_path, "output": output_path, "error": error_path}


def batch_files_here(directory: DataDirectory, batch_id: int) -> dict[str, int]:
    """Return the size in bytes of each file of a batch that is on this machine, by its kind."""
    sizes = {}
    for kind, path_of in FILE_KINDS.items():
        try:
            sizes[kind] = path_of(directory, batch_id).stat().st_size
        except FileNotFoundError:
            continue
    return sizes


def odd_lines_path(directory: DataDirectory, batch_id: int) -> Path:
    """Return where the lines of a batch's files that fit no request are kept."""
    return batch_folder(directory, batch_id) / "odd_lines.jsonl"


def write_batch_files(ledger: Ledger, *, installation: str, batch_id: int, endpoint: str) -> Path:
    """Write manifest and input file of a claimed batch; return the input file's path."""
    directory = ledger.directory
    make_folder(batch_folder(directory, batch_id))
    # After a restore of an older ledger a number can come again: its answers must not.
    for stale in (output_path, error_path, odd_lines_path):
        stale(directory, batch_id).unlink(missing_ok=True)
    with ledger.transaction() as reader:
        members = reader.frame(
            "SELECT segment, row_index, attempts FROM requests "
            "WHERE batch_id = ? AND state = 'batched' ORDER BY segment, row_index",
            batch_id,
        )
        lane = reader.row(
            "SELECT account, endpoint, model FROM batches JOIN lanes USING (lane_id) "
            "WHERE batch_id = ?",
            batch_id,
        )
    write_manifest(directory, batch_id, members, {"installation": installation, **(lane or {})})
    target = input_path(directory, batch_id)
    with written_durably(target) as file:
        for segment, rows in _by_segment(members):
            prefix = f'{{"custom_id":"{installation}-{segment}-'.encode()
            middle = f'","method":"POST","url":"{endpoint}","body":'.encode()
            _write_lines(file, segment_path(directory.segments, segment), rows, prefix, middle)
    return target


def remove_input_file(directory: DataDirectory, batch_id: int) -> None:
    """Forget the input file; it can be written again from segments."""
    input_path(directory, batch_id).unlink(missing_ok=True)


def remove_batch_files(directory: DataDirectory, batch_id: int) -> None:
    """Forget every file of a batch."""
    shutil.rmtree(batch_folder(directory, batch_id), ignore_errors=True)


def manifest_path(directory: DataDirectory, batch_id: int) -> Path:
    """Return where it is kept which requests a batch holds."""
    return batch_folder(directory, batch_id) / "manifest.parquet"


def write_manifest(
    directory: DataDirectory, batch_id: int, members: pl.DataFrame, told: Mapping[str, str]
) -> None:
    """Keep which requests a batch holds: segment, row_index and the attempts made before.

    `told` is its installation, account, endpoint and model.
    """
    metadata = {f"obm.{name}": value for name, value in told.items()}
    table = members.to_arrow().replace_schema_metadata({**metadata, "obm.batch_id": str(batch_id)})
    with written_durably(manifest_path(directory, batch_id)) as file:
        pq.write_table(table, file, compression="zstd")


def _by_segment(members: pl.DataFrame) -> Iterator[tuple[int, pl.Series]]:
    for (segment,), rows in members.group_by("segment", maintain_order=True):
        yield int(str(segment)), rows["row_index"]


def _write_lines(file: BinaryIO, path: Path, rows: pl.Series, prefix: bytes, middle: bytes) -> None:
    numbers = iter(rows)
    for table in read_rows(path, rows, ["body"]):
        check_stop()
        bodies = pl.DataFrame(table)["body"].to_list()
        file.writelines(
            b"%b%d%b%b}\n" % (prefix, number, middle, body)
            for body, number in zip(bodies, numbers, strict=False)
        )
