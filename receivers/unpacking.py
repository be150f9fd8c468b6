"""Unpacking what a client sends, piece by piece, without trusting how much it becomes."""

import zlib
from collections.abc import Iterator
from typing import Any, Final

import zstandard

from batching.errors import BadInput

PACKINGS: Final = ("identity", "gzip", "zstd")
_GZIP: Final = 31  # window bits that make zlib expect a gzip header
_UNPACKED_BYTES: Final = 1_000_000
_SLICE_BYTES: Final = 1_024
"""A zstd piece cannot be unpacked in part, and a block of 128 KB may be four bytes."""
_LARGEST_WINDOW_BYTES: Final = 8 * 1024 * 1024


class Plain:
    """Content that is not packed."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what the piece unpacks to."""
        yield piece

    def finish(self) -> None:
        """Raise BadInput unless the content has come to its end."""


class Gzip:
    """Content packed with gzip, in any number of members."""

    def __init__(self) -> None:
        self._member: Any = zlib.decompressobj(_GZIP)
        self._is_begun = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what the piece unpacks to."""
        while piece:
            self._is_begun = True
            try:
                yield self._member.decompress(piece, _UNPACKED_BYTES)
            except zlib.error as error:
                raise BadInput(f"the gzip data is damaged: {error}") from None
            piece = self._member.unconsumed_tail
            if self._member.eof:
                piece = self._member.unused_data
                self._member, self._is_begun = zlib.decompressobj(_GZIP), False

    def finish(self) -> None:
        """Raise BadInput unless the content has come to its end."""
        if self._is_begun:
            raise BadInput("the gzip data is cut off: its end is missing")


class Zstd:
    """Content packed with zstd, in any number of frames."""

    def __init__(self) -> None:
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES)
        self._frame: Any = self._unpacker.decompressobj()
        self._is_begun = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what the piece unpacks to."""
        for start in range(0, len(piece), _SLICE_BYTES):
            rest = piece[start : start + _SLICE_BYTES]
            while rest:
                self._is_begun = True
                try:
                    yield self._frame.decompress(rest)
                except zstandard.ZstdError as error:
                    raise BadInput(f"the zstd data cannot be unpacked: {error}") from None
                rest = b""
                if self._frame.eof:
                    rest = self._frame.unused_data
                    self._frame, self._is_begun = self._unpacker.decompressobj(), False

    def finish(self) -> None:
        """Raise BadInput unless the content has come to its end."""
        if self._is_begun:
            raise BadInput("the zstd data is cut off: its end is missing")


Unpacking = Plain | Gzip | Zstd


def unpacking_of(content_encoding: bytes) -> Unpacking | None:
    """Return how to unpack what has this Content-Encoding; None if it is not known here."""
    name = content_encoding.strip().lower()
    if name in {b"", b"identity"}:
        return Plain()
    if name in {b"gzip", b"x-gzip"}:
        return Gzip()
    return Zstd() if name == b"zstd" else None
