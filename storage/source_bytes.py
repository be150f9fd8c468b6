"""The raw bytes of a source: read once, hashed and counted on the way."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import xxhash

from batching.errors import BadInput

BLOCK_BYTES: Final = 500_000


class SourceBytes(io.RawIOBase):
    """A file that knows how far it was read and the xxh3_128 of everything up to there.

    With a start offset the bytes before it are hashed too, so that the hash always stands
    for the file from its beginning and a growth can be told from another file.
    """

    def __init__(self, path: Path, start_offset: int = 0) -> None:
        super().__init__()
        self._hash = xxhash.xxh3_128()
        self._file = _opened(path)
        self.offset = 0
        self._last_byte = b"\n"
        while self.offset < start_offset:
            if not self.read(min(BLOCK_BYTES, start_offset - self.offset)):
                self.close()
                raise BadInput(f"the file has shrunk: it ends before byte {start_offset:,}")

    def readable(self) -> bool:
        """Return that this can be read."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to so many bytes, none at the end of the file."""
        try:
            data = self._file.read(BLOCK_BYTES if size is None or size < 0 else size)
        except OSError as error:
            raise _unreadable(error) from error
        self._hash.update(data)
        self.offset += len(data)
        self._last_byte = data[-1:] or self._last_byte
        return data

    def readinto(self, buffer: object, /) -> int:
        """Fill the buffer and return how many bytes were there."""
        view = memoryview(buffer)  # type: ignore[arg-type]  # io declares any buffer an object
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield what is left, block by block."""
        while block := self.read(size):
            yield block

    def read_to_the_end(self) -> None:
        """Hash whatever is left."""
        for _ in self.blocks():
            pass

    @property
    def content_hash(self) -> str:
        """xxh3_128 of the bytes read so far, as hexadecimal text."""
        return self._hash.hexdigest()

    @property
    def is_inside_a_line(self) -> bool:
        """Whether what was read so far ends in the middle of a line."""
        return self._last_byte != b"\n"

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def __enter__(self) -> Self:
        return self


def content_hash(path: Path, *, length: int | None = None) -> str:
    """Return the hash of a file, or of its first bytes, as `SourceBytes` reports it."""
    with SourceBytes(path, length or 0) as source:
        if length is None:
            source.read_to_the_end()
        return source.content_hash


def _opened(path: Path) -> io.FileIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> BadInput:
    return BadInput(f"the file cannot be read: {error.strerror}")
