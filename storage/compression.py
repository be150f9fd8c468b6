"""Unpacking gzip and zstd sources in bounded pieces, and telling complete ones from cut ones."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import zstandard

from batching.errors import BadInput
from storage.source_bytes import BLOCK_BYTES, SourceBytes

_PACKED_BYTES: Final = 65_536
_GZIP: Final = 31  # window bits that make zlib expect a gzip header
_LARGEST_WINDOW_BYTES: Final = 128 * 1024 * 1024
_ZSTD_MAGIC: Final = 0xFD2FB528
_SKIPPABLE_MAGICS: Final = range(0x184D2A50, 0x184D2A60)
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
_RLE_BLOCK: Final = 1
_RESERVED_BLOCK: Final = 3


def unpacked_gzip(source: SourceBytes) -> Iterator[bytes]:
    """Yield the content of all members; BadInput if the last one is cut or one is damaged."""
    member = zlib.decompressobj(_GZIP)
    begun = False
    try:
        for packed in source.blocks(_PACKED_BYTES):
            rest = packed
            while rest:
                if not begun and not (rest := rest.lstrip(b"\0")):
                    break
                begun = True
                yield member.decompress(rest, BLOCK_BYTES)
                rest = member.unconsumed_tail
                if member.eof:
                    rest, begun = member.unused_data, False
                    member = zlib.decompressobj(_GZIP)
        while begun and (tail := member.decompress(member.unconsumed_tail, BLOCK_BYTES)):
            yield tail
    except zlib.error as error:
        raise BadInput(f"the gzip file is damaged: {error}") from None
    if begun and not member.eof:
        raise BadInput("the gzip file is cut off: its last part is missing")


def unpacked_zstd(path: Path, source: SourceBytes) -> Iterator[bytes]:
    """Yield the content of all frames; BadInput if the last one is cut or one is damaged."""
    if path.stat().st_size and not zstd_is_complete(path):
        raise BadInput("the zstd file is cut off or damaged: its last frame has no end")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES)
    readable: Any = source  # the stub of zstandard asks for more than its code does
    try:
        with unpacker.stream_reader(readable, read_across_frames=True, closefd=False) as reader:
            while block := reader.read(BLOCK_BYTES):
                yield block
    except zstandard.ZstdError as error:
        raise BadInput(f"the zstd file cannot be unpacked: {error}") from None


def gzip_is_complete(path: Path) -> bool:
    """Return whether the file unpacks to its end."""
    try:
        with SourceBytes(path) as source:
            for _ in unpacked_gzip(source):
                pass
            return source.offset > 0
    except BadInput:
        return False


def zstd_is_complete(path: Path) -> bool:
    """Return whether every frame has its end, without unpacking any.

    Unpackers of zstd return short data of a cut file without an error, so the lengths of
    frames and blocks, which the format gives, are followed through the file instead.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            while file.tell() < size:
                _skip_frame(file)
        except ValueError:
            return False
        return file.tell() == size > 0


def _skip_frame(file: BinaryIO) -> None:
    magic = _number(file, 4)
    if magic in _SKIPPABLE_MAGICS:
        file.seek(_number(file, 4), 1)
        return
    if magic != _ZSTD_MAGIC:
        raise ValueError("no frame begins here")
    has_checksum = _skip_frame_header(file)
    is_last = False
    while not is_last:
        header = _number(file, 3)
        is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED_BLOCK:
            raise ValueError("no block begins here")
        file.seek(1 if kind == _RLE_BLOCK else size, 1)
    if has_checksum:
        file.seek(4, 1)


def _skip_frame_header(file: BinaryIO) -> bool:
    descriptor = _number(file, 1)
    is_single_segment = bool(descriptor & 0b10_0000)
    content_size = _CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single_segment)
    dictionary = _DICTIONARY_BYTES[descriptor & 0b11]
    file.seek(int(not is_single_segment) + dictionary + content_size, 1)
    return bool(descriptor & 0b100)


def _number(file: BinaryIO, length: int) -> int:
    data = file.read(length)
    if len(data) < length:
        raise ValueError("the file ends here")
    return int.from_bytes(data, "little")
