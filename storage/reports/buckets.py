"""Time cut into pieces of one length: every piece is there, also those in which nothing was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A stretch of time and the length of its pieces, which begin at multiples of that length."""

    since: datetime
    until: datetime
    bucket_seconds: int

    @classmethod
    def ending(cls, until: datetime, *, lasting: timedelta, bucket_seconds: int) -> Self:
        """Return the span that ends at a moment."""
        return cls(since=until - lasting, until=until, bucket_seconds=bucket_seconds)

    def bucket_of(self, column: str) -> str:
        """Return the SQL of the number of the piece that a time lies in."""
        return f"(epoch_us({column}) // {self.bucket_seconds * 1_000_000})"

    @property
    def numbers(self) -> range:
        """The numbers of the pieces, oldest first."""
        first, last = self.since.timestamp(), self.until.timestamp()
        return range(int(first // self.bucket_seconds), int(-(-last // self.bucket_seconds)))

    def filled(
        self, rows: Iterable[Mapping[str, Any]], zeros: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Return one row a piece from rows with `bucket`; `partial` says that time is missing."""
        found = {row["bucket"]: row for row in rows}
        return [
            self._start(number) | dict(zeros) | _known(found.get(number)) for number in self.numbers
        ]

    def _start(self, number: int) -> dict[str, Any]:
        start = datetime.fromtimestamp(number * self.bucket_seconds, UTC)
        end = start + timedelta(seconds=self.bucket_seconds)
        return {"starts_at": start, "partial": start < self.since or end > self.until}


def rolling(
    rows: Iterable[Mapping[str, Any]],
    *,
    until: datetime,
    piece: timedelta,
    pieces: int,
    zero: Any = 0,
) -> list[dict[str, Any]]:
    """Return complete pieces that end at a moment, from rows with `pieces_ago` and `value`."""
    found = {row["pieces_ago"]: row["value"] for row in rows}
    return [
        {"starts_at": until - (ago + 1) * piece, "value": found.get(ago, zero)}
        for ago in reversed(range(pieces))
    ]


def _known(row: Mapping[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {}
    return {name: value for name, value in row.items() if name != "bucket"}
