import gzip
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import BadInput
from batching.jobs import JobSettings
from storage.formats import ends_well, format_of, lines_at, read_chunks
from storage.source_bytes import SourceBytes, content_hash
from storage.text_formats import RefusedLine, split_lines

TEXT = b'{"a":1}\n{"b":2}\r\n\n{"c":3}'
NUMBERED = {1: b'{"a":1}', 2: b'{"b":2}', 3: b"", 4: b'{"c":3}'}


def zstd(data: bytes, *, level: int = 3, checksum: bool = False, sized: bool = True) -> bytes:
    packer = zstandard.ZstdCompressor(
        level=level, write_checksum=checksum, write_content_size=sized
    )
    return packer.compress(data)


def read(path: Path, *, start_offset: int = 0, first_number: int = 1) -> dict[int, bytes]:
    """Return all lines by number, without the carriage return that readers leave in place."""
    with SourceBytes(path, start_offset) as source:
        return {
            number: line.removesuffix(b"\r")
            for chunk in read_chunks(path, source, JobSettings(), first_number=first_number)
            for number, line in zip(chunk.numbers, chunk.lines, strict=True)
        }


def file_of(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.jsonl", TEXT),
        ("x.ndjson", TEXT),
        ("X.JSONL", b"\xef\xbb\xbf" + TEXT),
        ("x.jsonl.gz", gzip.compress(TEXT)),
        ("X.Jsonl.GZ", gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])),
        ("x.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + TEXT) + b"\0" * 600),
        ("x.ndjson.gz", gzip.compress(b"") + gzip.compress(TEXT)),
        ("x.jsonl.zst", zstd(TEXT)),
        ("x.jsonl.zst", zstd(TEXT, checksum=True, sized=False)),
        ("x.ndjson.zst", zstd(TEXT[:5], checksum=True) + zstd(TEXT[5:])),
        ("x.jsonl.zst", b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + zstd(TEXT)),
    ],
)
def test_every_text_format_gives_the_same_numbered_lines(
    tmp_path: Path, name: str, data: bytes
) -> None:
    assert read(file_of(tmp_path, name, data)) == NUMBERED


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.jsonl.gz", gzip.compress(TEXT * 900)[:-1], "cut off"),
        ("x.jsonl.gz", gzip.compress(TEXT * 900)[:40], "cut off"),
        ("x.jsonl.gz", gzip.compress(TEXT)[:5], "cut off"),
        ("x.jsonl.gz", gzip.compress(TEXT) + b"garbage", "damaged"),
        ("x.jsonl.gz", gzip.compress(TEXT)[:-8] + b"\0" * 8, "damaged"),
        ("x.jsonl.gz", TEXT, "damaged"),
        ("x.jsonl.zst", zstd(TEXT)[:-1], "cut off"),
        ("x.jsonl.zst", zstd(TEXT, checksum=True)[:-4], "cut off"),
        ("x.jsonl.zst", zstd(os.urandom(400_000))[:200_000], "cut off"),
        ("x.jsonl.zst", zstd(TEXT) + zstd(TEXT)[:8], "cut off"),
        ("x.jsonl.zst", zstd(TEXT) + b"garbage", "cut off"),
        ("x.jsonl.zst", TEXT, "cut off"),
        ("x.jsonl.zst", zstd(TEXT * 99, checksum=True)[:-4] + b"\0\0\0\0", "cannot be unpacked"),
        ("x.jsonl", gzip.compress(TEXT), "gzip"),
        ("x.jsonl", zstd(TEXT), "zstd"),
        ("x.jsonl", TEXT.decode().encode("utf-16"), "UTF-16"),
        ("x.jsonl", b"PAR1....", "Parquet"),
        ("x.jsonl", b"PK\x03\x04....", "zip"),
    ],
)
def test_a_cut_or_damaged_or_misnamed_file_is_refused_as_a_whole(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        read(file_of(tmp_path, name, data))


@pytest.mark.parametrize(
    "name", ["x.json", "x.txt", "x", "x.gz", "x.jsonl.bz2", "jsonl", "x.csv.gz"]
)
def test_an_unknown_format_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(BadInput, match=r"\.jsonl\.zst"):
        format_of(name)


def test_an_unreadable_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        SourceBytes(tmp_path / "gone.jsonl")
    with pytest.raises(BadInput, match="directory"):
        SourceBytes(tmp_path)


def test_lines_end_with_a_newline_and_with_nothing_else(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg".encode()
    assert read(file_of(tmp_path, "x.jsonl", text + b"\n" + text)) == {1: text, 2: text}


@given(
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b".")), max_size=20),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_lines_do_not_depend_on_where_blocks_end(lines: list[bytes], sizes: list[int]) -> None:
    text = b"{" + b"\n".join(lines)
    blocks = []
    rest = text
    while rest:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(rest[:size])
        rest = rest[size:]
    chunks = list(split_lines(blocks, first_number=1, longest_line_bytes=1_000))
    found = [line for chunk in chunks for line in chunk.lines]
    assert [number for chunk in chunks for number in chunk.numbers] == list(
        range(1, len(found) + 1)
    )
    assert b"\n".join(found) + b"\n" * text.endswith(b"\n") == text


def test_a_line_that_no_batch_holds_is_refused_without_keeping_it() -> None:
    blocks = [b"a\n" + b"x" * 600, b"x" * 600, b"x" * 600 + b"\nb\n", b"y" * 3_000]
    chunks = list(split_lines(blocks, first_number=1, longest_line_bytes=1_000))
    refused: list[RefusedLine] = [line for chunk in chunks for line in chunk.refused]
    assert [(line.number, line.refusal.code) for line in refused] == [
        (2, "line_too_large"),
        (4, "line_too_large"),
    ]
    assert "1,800 bytes" in refused[0].refusal.reason
    assert set(refused[0].raw) == {ord("x")}
    assert [line for chunk in chunks for line in chunk.lines if line] == [b"a", b"b"]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 60))
def test_which_lines_are_too_long_does_not_depend_on_where_blocks_end(
    lengths: list[int], block_bytes: int
) -> None:
    text = b"{" + b"\n".join(b"x" * length for length in lengths)
    blocks = [text[at : at + block_bytes] for at in range(0, len(text), block_bytes)]
    chunks = list(split_lines(blocks, first_number=1, longest_line_bytes=20))
    refused = [line.number for chunk in chunks for line in chunk.refused]
    lengths[0] += 1
    assert refused == [number for number, length in enumerate(lengths, 1) if length > 20]


def test_a_line_without_end_takes_no_more_memory_than_a_line_may_have() -> None:
    longest_line_bytes = 8_000_000

    def blocks() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(1_000_000)

    tracemalloc.start()
    (chunk,) = split_lines(blocks(), first_number=1, longest_line_bytes=longest_line_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(chunk.refused[0].raw) == 4_096
    assert peak < longest_line_bytes + 3_000_000


def test_a_growth_is_read_from_its_offset_with_its_own_numbers(tmp_path: Path) -> None:
    path = file_of(tmp_path, "x.jsonl", b"one\ntwo\n")
    before = content_hash(path)
    with path.open("ab") as file:
        file.write(b"three\nfour\n")
    assert read(path, start_offset=8, first_number=3) == {3: b"three", 4: b"four"}
    assert content_hash(path, length=8) == before != content_hash(path)
    with SourceBytes(path, 8) as source:
        assert not source.is_inside_a_line
        source.read_to_the_end()
        assert (source.offset, source.content_hash) == (19, content_hash(path))


def test_a_file_that_has_shrunk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shrunk"):
        SourceBytes(file_of(tmp_path, "x.jsonl", b"one\n"), 8)


def test_lines_are_fetched_by_their_numbers(tmp_path: Path) -> None:
    path = file_of(tmp_path, "x.jsonl.gz", gzip.compress(TEXT))
    assert lines_at(path, [4, 2]) == {2: b'{"b":2}', 4: b'{"c":3}'}
    assert lines_at(path, []) == {}
    assert lines_at(path, [9]) == {}


@pytest.mark.parametrize(
    ("name", "whole", "cut"),
    [
        ("x.jsonl", b"{}\n", b"{}"),
        ("x.csv", b"a,b\n", b"a,"),
        ("x.jsonl.gz", gzip.compress(TEXT), gzip.compress(TEXT)[:-1]),
        ("x.jsonl.zst", zstd(TEXT), zstd(TEXT)[:-1]),
        ("x.parquet", b"PAR1" + b"\0\0\0\0" + b"PAR1", b"PAR1" + b"\0" * 9),
    ],
)
def test_a_file_ends_well_only_if_its_end_is_there(
    tmp_path: Path, name: str, whole: bytes, cut: bytes
) -> None:
    assert ends_well(file_of(tmp_path, name, whole))
    assert not ends_well(file_of(tmp_path, name, cut))
    assert not ends_well(file_of(tmp_path, name, b""))


def test_a_file_of_unknown_format_is_not_waited_for(tmp_path: Path) -> None:
    assert ends_well(file_of(tmp_path, "x.txt", b"any"))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    def peak(lines: int) -> int:
        text = (b'{"a":"' + b"x" * 1_000 + b'"}\n') * lines
        packed = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[suffix](text)
        path = file_of(tmp_path, f"{lines}.jsonl{suffix}", packed)
        del text, packed
        tracemalloc.start()
        with SourceBytes(path) as source:
            count = sum(len(chunk.lines) for chunk in read_chunks(path, source, JobSettings()))
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == lines + 1 or count == lines
        return result

    assert peak(40_000) < 1.3 * peak(4_000)
