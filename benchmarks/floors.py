"""The least that any program must do with the same bytes: the floor of a figure."""

import importlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.processes import Spent, in_a_fresh_process, peak_megabytes, spent_by

_BLOCK_BYTES = 1_000_000


class _Request(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw


class _Result(msgspec.Struct):
    custom_id: str
    response: msgspec.Raw


def copying(paths: Sequence[Path]) -> Spent:
    """Return what reading these files and writing their bytes once takes."""
    return in_a_fresh_process(partial(_spent_copying, paths))


def copying_and_decoding(requests: Sequence[Path], results: Sequence[Path]) -> Spent:
    """Return what copying these files and decoding each of their lines once takes."""
    return in_a_fresh_process(partial(_spent_on_both, requests, results))


def importing() -> float:
    """Return the peak memory of a process that only imports what the pipeline stands on."""
    return in_a_fresh_process(_peak_of_imports)


def _spent_copying(paths: Sequence[Path]) -> Spent:
    return spent_by(partial(_copy_all, paths))


def _spent_on_both(requests: Sequence[Path], results: Sequence[Path]) -> Spent:
    def work() -> None:
        _copy_all([*requests, *results])
        _decode(requests, _Request)
        _decode(results, _Result)

    return spent_by(work)


def _copy_all(paths: Sequence[Path]) -> None:
    for path in paths:
        copy = path.with_name(f"{path.name}.copy")
        with path.open("rb", buffering=0) as source, copy.open("wb", buffering=0) as target:
            while block := source.read(_BLOCK_BYTES):
                target.write(block)
            os.fsync(target.fileno())
        copy.unlink()


def _decode(paths: Sequence[Path], kind: type[msgspec.Struct]) -> None:
    decode = msgspec.json.Decoder(kind).decode
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                decode(line)


def _peak_of_imports() -> float:
    from deployments.memory import keep_memory_flat  # noqa: PLC0415 - in this process only

    keep_memory_flat()
    for name in ("duckdb", "openai", "polars", "prefect.flows", "pyarrow.parquet"):
        importlib.import_module(name)
    return peak_megabytes(os.getpid())
