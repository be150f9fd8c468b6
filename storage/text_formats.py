"""Splitting text sources into lines, a block at a time.

Lines end with a newline byte and with nothing else: U+2028 and its like are legal inside
JSON strings. A line that no batch could hold is not kept in memory.
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
        refused: tuple[RefusedLine, ...] = ()
        begun.add(lines[0])
        if begun.is_too_long:
            refused = (begun.refused(number),)
            lines[0] = b""
        else:
            lines[0] = begun.text
        begun = _BegunLine(longest_line_bytes)
        begun.add(lines.pop())
        yield _chunk(number, lines, refused)
        number += len(lines)
    if begun.length:
        if begun.is_too_long:
            yield _chunk(number, [b""], (begun.refused(number),))
        else:
            yield _chunk(number, [begun.text], ())


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
        if self.is_too_long:
            beginning = b"".join(self._parts) or part
            self._parts = [beginning[:_KEPT_OF_A_HUGE_LINE]]
        else:
            self._parts.append(part)

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
                f"the line has {self.length:,} bytes, no batch holds it; "
                f"only its first {_KEPT_OF_A_HUGE_LINE:,} bytes are kept here"
            ),
        )
        return RefusedLine(number=number, refusal=refusal, raw=self.text)
