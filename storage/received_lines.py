"""The line format of receivers' logs: each line carries its own proof that it is whole.

Four fields with tabs between: a checksum, microseconds since 1970, the job as a JSON string, the
request line. The checksum is the xxh3_64 of all behind it, as 16 hexadecimal digits. After a
power cut a line may be cut off or have a hole of zeros: then it does not match, and nobody was
ever told that it was accepted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from xxhash import xxh3_64_hexdigest

from batching.destinations import Destination, Reach
from batching.requests import ReadingRules


@dataclass(frozen=True, slots=True)
class ReceivedLine:
    """One request as a receiver accepted it."""

    job: str
    received_at_us: int
    """Microseconds since 1970."""
    line: bytes
    """The request line, as it was validated."""

    @property
    def received_at(self) -> datetime:
        """The moment at which the receiver accepted it."""
        return moment(self.received_at_us)


def received_line(job: str, received_at: datetime | int, line: bytes) -> bytes:
    """Return one line of a receiver's log, newline included.

    `received_at` as a number is in microseconds since 1970. Newlines between the parts of the
    request become spaces: validate what `on_one_line` returns, or its payload hash differs.
    """
    if not isinstance(received_at, int):
        received_at = microseconds(received_at)
    rest = b"%d\t%b\t%b" % (received_at, _job_text(job), on_one_line(line))
    return b"%b\t%b\n" % (xxh3_64_hexdigest(rest).encode(), rest)


def on_one_line(line: bytes) -> bytes:
    """Return the request line without newlines: JSON allows them between its parts only."""
    return line.replace(b"\n", b" ") if b"\n" in line else line


def read_received_line(text: bytes) -> ReceivedLine | None:
    """Return what a line of a log (without its newline) holds; None if it is damaged."""
    checksum, _, rest = text.partition(b"\t")
    if xxh3_64_hexdigest(rest).encode() != checksum:
        return None
    received_at, job, line = rest.split(b"\t", 2)
    return ReceivedLine(_job_of(job), int(received_at), line)


def whole_lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines of a log a block at a time, without newlines; a cut-off end is left out."""
    begun: list[bytes] = []
    for block in blocks:
        first, newline, rest = block.partition(b"\n")
        begun.append(first)
        if newline:
            lines = [b"".join(begun), *rest.split(b"\n")]
            begun = [lines.pop()]
            yield lines


def rules_for_received(rules: ReadingRules) -> ReadingRules:
    """Return the rules by which accepted lines are read again.

    A destination that was there when the line was accepted may be gone by now: the request
    stays accepted, and its delivery waits for the destination. A limit that was lowered since
    then is for new requests: a line that is larger than a batch may be goes in one of its own.
    """
    largest_bytes = max(rules.largest_line_bytes, ReadingRules().largest_line_bytes)
    return replace(rules, reach=_Anywhere(), largest_line_bytes=largest_bytes)


class _Anywhere(Reach):
    """Every destination that can be written down."""

    def why_not(self, _destination: Destination) -> None:
        return None


def microseconds(at: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return round(at.timestamp() * 1_000_000)


def moment(at_us: int) -> datetime:
    """Return microseconds since 1970 as a moment in UTC."""
    seconds, rest = divmod(at_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


@lru_cache(maxsize=4_096)
def _job_text(job: str) -> bytes:
    return msgspec.json.encode(job)


@lru_cache(maxsize=4_096)
def _job_of(text: bytes) -> str:
    return msgspec.json.decode(text, type=str)
