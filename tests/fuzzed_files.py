"""Files of good and spoilt request lines, and what must become of each of their lines."""

import base64
import csv
import gzip
import io
import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl
import zstandard
from fuzzed_lines import ODD_VALUES, LineMaker

from batching.line_faults import RefusalCode, list_faults
from storage.directory import DataDirectory
from storage.ledger import Ledger

FORMATS: Final = ("jsonl", "jsonl.gz", "jsonl.zst", "jsonl", "csv", "parquet")
COLUMNS: Final = ("custom_id", "method", "url", "model", "body", "prompt", "delivery_config")
_NOT_IN_THE_LINE: Final = frozenset(
    {
        RefusalCode.INVALID_DESTINATION,
        RefusalCode.DESTINATION_NOT_AVAILABLE,
        RefusalCode.DUPLICATE_CUSTOM_ID,
        RefusalCode.LINE_TOO_LARGE,
        RefusalCode.NESTED_TOO_DEEPLY,
    }
)
"""Refusals that do not follow from what `list_faults` looks at."""


@dataclass(kw_only=True)
class FuzzedFile:
    """A file as it was dropped."""

    name: str
    content: bytes
    lines: dict[int, bytes] = field(default_factory=dict)
    """Each line that is not blank by its number; of a table only numbers count."""
    good: dict[str, bytes] = field(default_factory=dict)
    """The bodies of those that must be accepted, by their ids."""
    is_table: bool = False
    spoilt: int = 0

    def drop(self, directory: DataDirectory) -> None:
        """Put it into the inbox."""
        (directory.inbox / self.name).write_bytes(self.content)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of a file."""

    accepted: int
    rejected: int
    replayed: int


def fuzzed_file(seed: int, count: int, source_format: str) -> FuzzedFile:
    """Return a file of so many lines in this format."""
    if source_format in {"csv", "parquet"}:
        return _table(seed, count, source_format)
    return _text_file(seed, count, source_format)


def _text_file(seed: int, count: int, source_format: str) -> FuzzedFile:
    maker = LineMaker(seed)
    made = list(maker.lines(count))
    opening = LineMaker(seed, good_share=1.0, prefix="first").line()
    text = bytearray(opening.text + b"\n")
    for line in made:
        text += line.text + maker.separator()
    good = {line.custom_id: line.body for line in (opening, *made) if line.is_good}
    if random.Random(seed).random() < 0.5:  # noqa: S311 - a seeded test
        text = text.rstrip() + b'\n{"custom_id":"cut","method":"PO'
    return FuzzedFile(
        name=f"fuzz-{seed}.{source_format}",
        content=_packed(bytes(text), source_format),
        lines={
            number: line
            for number, line in enumerate(bytes(text).split(b"\n"), start=1)
            if line and not line.isspace()
        },
        good=good,
        spoilt=sum(not line.is_good for line in made),
    )


def _packed(text: bytes, source_format: str) -> bytes:
    if source_format.endswith(".gz"):
        half = len(text) // 2
        return gzip.compress(text[:half], 1) + gzip.compress(text[half:], 1)
    if source_format.endswith(".zst"):
        return zstandard.compress(text, 1)
    return text


def _table(seed: int, count: int, source_format: str) -> FuzzedFile:
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    rows: list[dict[str, str | None]] = []
    good: dict[str, bytes] = {}
    for number in range(count):
        row: dict[str, str | None] = dict.fromkeys(COLUMNS)
        body = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Größe 😀"}]}'
        row |= {"custom_id": f"row-{seed}-{number}", "url": "/v1/chat/completions", "body": body}
        if chance.random() < 0.2:
            good[f"row-{seed}-{number}"] = body.encode()
        else:
            for _ in range(chance.choice((1, 1, 2))):
                row[chance.choice(COLUMNS)] = _cell(chance)
        rows.append(row)
    content, numbers = _csv(rows, chance) if source_format == "csv" else _parquet(rows)
    return FuzzedFile(
        name=f"fuzz-{seed}.{source_format}", content=content,
        lines=dict.fromkeys(numbers, b""), good=good, is_table=True, spoilt=count - len(good),
    )  # fmt: skip


def _cell(chance: random.Random) -> str | None:
    value = chance.choice((*ODD_VALUES, b"a,b", b'"', b"x\ny", b'{"model":\n"m"}', b"[1]"))
    if value == b"" and chance.random() < 0.5:
        return None
    return value.replace(b"\r", b" ").decode("utf-8", "surrogateescape")


def _csv(rows: list[dict[str, str | None]], chance: random.Random) -> tuple[bytes, list[int]]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    numbers = []
    at = 2
    for row in rows:
        cells: list[str | None] = [row[name] for name in COLUMNS]
        if row["method"] is None and row["body"] is None and chance.random() < 0.5:
            cells = cells[: chance.randrange(1, len(cells))]
        begin = text.tell()
        writer.writerow(cells)
        numbers.append(at)
        text.seek(begin)
        at += text.read().count("\n")
    return text.getvalue().encode("utf-8", "surrogateescape"), numbers


def _parquet(rows: list[dict[str, str | None]]) -> tuple[bytes, list[int]]:
    columns: dict[str, Any] = {
        name: [
            None if row[name] is None else row[name].encode("utf-8", "surrogateescape")  # type: ignore[union-attr]  # looked at before
            for row in rows
        ]
        for name in COLUMNS
    }
    file = io.BytesIO()
    frame = pl.DataFrame(columns, schema=dict.fromkeys(COLUMNS, pl.Binary))
    frame.write_parquet(file, row_group_size=1_000)
    return file.getvalue(), list(range(1, len(rows) + 1))


# What became of it ------------------------------------------------------------------------


def check_taken(directory: DataDirectory, ledger: Ledger, file: FuzzedFile) -> Taken:
    """Return what became of a file that was taken in; fail if a line ended twice or not at all."""
    with ledger.transaction() as reader:
        source = reader.row(
            "SELECT source_id, outcome, accepted, rejected FROM sources WHERE name = ?", file.name
        )
        assert source is not None, f"{file.name} was not taken in"
        assert source["outcome"] == "taken_in", source
        rows = reader.frame(
            "SELECT segment, row_index, custom_id FROM requests SEMI JOIN "
            "(SELECT segment FROM segments WHERE source_id = ?) USING (segment)",
            source["source_id"],
        )
        segments = reader.rows(
            "SELECT segment FROM segments WHERE source_id = ?", source["source_id"]
        )
    written = _written(directory, [row["segment"] for row in segments])
    accepted = written.join(rows.drop("custom_id"), on=["segment", "row_index"])
    refused = _refused(directory, f"{source['source_id']}__{file.name}.jsonl")
    replayed = written.join(rows, on=["segment", "row_index"], how="anti").filter(
        ~pl.col("line").is_in(list(refused))
    )
    _check_once(file, accepted, refused, replayed)
    _check_accepted(file, accepted)
    _check_refused(file, refused)
    assert (source["accepted"], source["rejected"]) == (accepted.height, len(refused))
    return Taken(accepted=accepted.height, rejected=len(refused), replayed=replayed.height)


def _written(directory: DataDirectory, segments: list[int]) -> pl.DataFrame:
    frames = [
        pl.read_parquet(
            directory.segments / f"{segment:06d}.parquet",
            columns=["line", "custom_id", "body", "payload_hash"],
        ).with_columns(
            pl.lit(segment, dtype=pl.Int32).alias("segment"),
            pl.int_range(pl.len(), dtype=pl.Int32).alias("row_index"),
        )
        for segment in segments
    ]
    return pl.concat(frames)


def _refused(directory: DataDirectory, name: str) -> dict[int, dict[str, Any]]:
    path = directory.rejected / name
    text = path.read_bytes() if path.exists() else b""
    records = [json.loads(line) for line in text.splitlines()]
    refused = {record["line"]: record for record in records}
    assert len(refused) == len(records), "a line was refused twice"
    return refused


def _check_once(
    file: FuzzedFile, accepted: pl.DataFrame, refused: dict[int, Any], replayed: pl.DataFrame
) -> None:
    """Each line ends once: accepted, refused, or as the repeat of an accepted one."""
    ends = [*accepted["line"], *refused, *replayed["line"]]
    assert len(ends) == len(set(ends)), "a line has ended twice"
    assert set(ends) == set(file.lines), sorted(set(ends) ^ set(file.lines))[:5]
    known = set(accepted.select("custom_id", "payload_hash").rows())
    assert known.issuperset(replayed.select("custom_id", "payload_hash").rows())


def _check_accepted(file: FuzzedFile, accepted: pl.DataFrame) -> None:
    bodies = dict(zip(accepted["custom_id"], accepted["body"], strict=True))
    assert len(bodies) == accepted.height, "two requests have one id"
    missing = {custom_id for custom_id, body in file.good.items() if bodies.get(custom_id) != body}
    assert not missing, f"good lines were not accepted as they are: {sorted(missing)[:5]}"
    if file.is_table:
        return
    for number, custom_id, body in accepted.select("line", "custom_id", "body").iter_rows():
        line = file.lines[number]
        assert body in line, (number, line)
        assert msgspec.json.decode(line, type=_Named).custom_id == custom_id, (number, line)
        assert list_faults(line) == [], (number, line)


class _Named(msgspec.Struct):
    custom_id: str


def _check_refused(file: FuzzedFile, refused: dict[int, dict[str, Any]]) -> None:
    for number, record in refused.items():
        assert record["reason"], record
        if file.is_table:
            continue
        line = file.lines[number]
        assert raw_of(record) == line.removesuffix(b"\r"), (number, line)
        assert record["code"] in _NOT_IN_THE_LINE or list_faults(line), (number, record["code"])


def raw_of(record: dict[str, Any]) -> bytes:
    """Return the bytes that a record of a refused line keeps."""
    if "raw" in record:
        return str(record["raw"]).encode()
    return base64.b64decode(record["raw_base64"])
