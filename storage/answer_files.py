"""Reading a batch's output and error files: where each request's line is and what it says.

Two passes keep memory flat and give sorted results. The first notes place and meaning of every
line; only numbers stay in memory. The second, in `result_files`, fetches the lines that became
results in the order of their requests.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from batching.result_lines import OddLine, ResultLine, outcome_of, read_result_line
from batching.stopping import check_stop
from batching.wire import RequestRef, decode_wire_id
from storage.durable import written_durably

SLICE_BYTES = 512 << 10
"""How much of a file is looked at at once; slices end at a line's end."""

OUTPUT, ERROR = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OddRecord:
    """A line that belongs to no request of the batch, or says nothing about one."""

    file: int
    offset: int
    length: int
    reason: str


_NUMBERS = (
    "segment", "row_index", "file", "offset", "length", "status_code", "input_tokens",
    "cached_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
_NARROW: Final[Any] = {
    "segment": pl.Int32, "row_index": pl.Int32, "file": pl.UInt8, "length": pl.Int32,
    "status_code": pl.Int32,
}  # fmt: skip
"""Counts of tokens stay wide, because they are summed."""
NO_NUMBER = -1
_MOST_TOKENS = 2**31 - 1
_HIGHEST_STATUS = 999
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class AnswerIndex:
    """Place and meaning of every line that names a request of this installation."""

    numbers: dict[str, "array[int]"] = field(
        default_factory=lambda: {name: array("q") for name in _NUMBERS}
    )
    outcomes: list[str] = field(default_factory=list)
    codes: list[str | None] = field(default_factory=list)
    odd: list[OddRecord] = field(default_factory=list)

    def frame(self) -> pl.DataFrame:
        """Return the index as a frame; absent numbers are null."""
        numbers = {
            name: pl.Series(name, values, dtype=pl.Int64) for name, values in self.numbers.items()
        }
        texts = {
            "outcome": pl.Series("outcome", self.outcomes, dtype=pl.String),
            "error_code": pl.Series("error_code", self.codes, dtype=pl.String),
        }
        return (
            pl.DataFrame(numbers | texts)
            .with_columns(
                pl.when(pl.col(_NUMBERS[5:]) != NO_NUMBER).then(pl.col(_NUMBERS[5:])),
            )
            .cast(_NARROW)
        )


def index_answers(
    index: AnswerIndex, path: Path, *, file: int, installation: str, batch_status: str
) -> None:
    """Add every line of one file to the index."""
    for offset, line in _lines(path):
        found = read_result_line(line)
        if isinstance(found, OddLine):
            reason = found.reason
        elif (ref := decode_wire_id(installation, found.custom_id)) is None:
            reason = "its custom_id is none of this installation"
        else:
            _add(index, ref, (file, offset, len(line)), found, batch_status)
            continue
        index.odd.append(OddRecord(file=file, offset=offset, length=len(line), reason=reason))


def _add(
    index: AnswerIndex,
    ref: RequestRef,
    place: tuple[int, int, int],
    line: ResultLine,
    batch_status: str,
) -> None:
    status = _or_absent(storable_status(line.status_code))
    values = (ref.segment, ref.row, *place, status, *_usage(line))
    for numbers, value in zip(index.numbers.values(), values, strict=True):
        numbers.append(value)
    index.outcomes.append(outcome_of(line, batch_status=batch_status).value)
    index.codes.append(line.error_code)


def _usage(line: ResultLine) -> tuple[int, ...]:
    usage = line.usage
    if usage is None:
        return (NO_NUMBER,) * 4
    counts = (
        usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens,
    )  # fmt: skip
    return tuple(_or_absent(storable_tokens(count)) for count in counts)


def storable_tokens(count: int) -> int | None:
    """Return the count, or None if no provider can have counted that and no column holds it."""
    return count if 0 <= count <= _MOST_TOKENS else None


def storable_status(status: int | None) -> int | None:
    """Return the status, or None if it is none of HTTP and no column holds it."""
    return status if status is not None and 0 <= status <= _HIGHEST_STATUS else None


def _or_absent(number: int | None) -> int:
    return NO_NUMBER if number is None else number


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of every line that is not blank, split at newlines alone."""
    with path.open("rb") as file:
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        start, rest = file.tell(), b""
        while block := file.read(SLICE_BYTES):
            check_stop()
            block = rest + block
            end = block.rfind(b"\n") + 1
            yield from _split(block[:end], start)
            start, rest = start + end, block[end:]
        yield from _split(rest, start)


def _split(block: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    for line in block.split(b"\n"):
        if line and not line.isspace():
            yield start, line.rstrip(b"\r")
        start += len(line) + 1


def write_odd_lines(target: Path, files: dict[int, Path], odd: list[OddRecord]) -> None:
    """Keep odd lines as they came, each with its reason."""
    names = {OUTPUT: "output", ERROR: "error"}
    with written_durably(target) as kept:
        for file, path in files.items():
            records = [record for record in odd if record.file == file]
            if not records:
                continue
            with path.open("rb") as lines:
                for record in records:
                    lines.seek(record.offset)
                    raw = lines.read(record.length).decode("utf-8", "backslashreplace")
                    entry = {"file": names[file], "reason": record.reason, "raw": raw}
                    kept.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
