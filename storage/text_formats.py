"""Splitting text sources into lines, a block at a time.

Lines end with a newline byte and with nothing else: U+2028 and its like are legal inside
JSON strings. Of a line that is too long only the beginning is kept in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from batching.errors import BadInput
from batching.line_faults import Refusal, RefusalCode

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_KEPT_OF_A_HUGE_LINE: Final = 4_096
_FOREIGN_BEGINNINGS: Final = (
    (b"\xff\xfe", "it is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16; save it as UTF-8"),
    (b"\x1f\x8b", "it is packed with gzip; let its name end with .gz"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd; let its name end with .zst"),
    (b"PAR1", "it is Parquet; let its name end with .parquet"),
    (b"PK\x03\x04", "it is a zip archive or a spreadsheet; unpack or export it first"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedLine:
    """A line that was not accepted, with as much of its text as is worth keeping."""

    number: int
    refusal: Refusal
    raw: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Some lines of a source with their numbers, and what the reader itself had to refuse."""

    numbers: Sequence[int]
    lines: Sequence[bytes]
    refused: tuple[RefusedLine, ...] = ()


def split_lines(
    blocks: Iterable[bytes], *, first_number: int, longest_line_bytes: int
) -> Iterator[Chunk]:
    """Yield the lines of the text in chunks of about a block.

    Blank lines are among them, and a carriage return at the end is left: JSON allows it.
    """
    number = first_number
    begun = _BegunLine(longest_line_bytes)
    for block in blocks if first_number > 1 else _checked_beginning(blocks):
        lines = block.split(b"\n")
        if len(lines) == 1:
            begun.add(block)
            continue
        begun.add(lines[0])
        refused = [begun.refused(number)] if begun.is_too_long else []
        lines[0] = b"" if refused else begun.text
        begun = _BegunLine(longest_line_bytes)
        begun.add(lines.pop())
        if len(block) > longest_line_bytes:
            refused += _without_too_long(lines, number, longest_line_bytes)
        yield _chunk(number, lines, tuple(refused))
        number += len(lines)
    if begun.length:
        if begun.is_too_long:
            yield _chunk(number, [b""], (begun.refused(number),))
        else:
            yield _chunk(number, [begun.text], ())


def _without_too_long(
    lines: list[bytes], number: int, longest_line_bytes: int
) -> Iterator[RefusedLine]:
    """Yield the lines that are too long and leave empty ones in their places.

    The first line has been looked at with all of its parts.
    """
    for index in range(1, len(lines)):
        if len(lines[index]) > longest_line_bytes:
            line = _BegunLine(longest_line_bytes)
            line.add(lines[index])
            lines[index] = b""
            yield line.refused(number + index)


def _chunk(number: int, lines: list[bytes], refused: tuple[RefusedLine, ...]) -> Chunk:
    return Chunk(numbers=range(number, number + len(lines)), lines=lines, refused=refused)


def _checked_beginning(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Take away a byte-order mark; refuse what is not text in UTF-8 at all."""
    iterator = iter(blocks)
    first = b""
    while len(first) < len(_BYTE_ORDER_MARK) and (block := next(iterator, None)) is not None:
        first += block
    for beginning, reason in _FOREIGN_BEGINNINGS:
        if first.startswith(beginning):
            raise BadInput(f"the file is not what its name says: {reason}")
    yield first.removeprefix(_BYTE_ORDER_MARK)
    yield from iterator


class _BegunLine:
    """The beginning of a line whose end has not been read yet."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest_bytes = longest_bytes
        self._parts: list[bytes] = []
        self.length = 0

    def add(self, part: bytes) -> None:
        self.length += len(part)
        self._parts.append(part)
        if self.is_too_long:
            self._parts = [self._beginning()]

    def _beginning(self) -> bytes:
        # Not joined as a whole: that would take the memory of the line once more.
        beginning = b""
        for part in self._parts:
            beginning += part[: _KEPT_OF_A_HUGE_LINE - len(beginning)]
            if len(beginning) == _KEPT_OF_A_HUGE_LINE:
                break
        return beginning

    @property
    def is_too_long(self) -> bool:
        return self.length > self._longest_bytes

    @property
    def text(self) -> bytes:
        return b"".join(self._parts)

    def refused(self, number: int) -> RefusedLine:
        refusal = Refusal(
            code=RefusalCode.LINE_TOO_LARGE,
            reason=(
                f"the line has {self.length:,} bytes, at most {self._longest_bytes:,} are taken; "
                f"only its first {_KEPT_OF_A_HUGE_LINE:,} bytes are kept here"
            ),
        )
        return RefusedLine(number=number, refusal=refusal, raw=self.text)
