"""A clock on the wall that a test puts forward and back; what it measures goes on as it does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from unittest.mock import patch


class PutClock:
    """Stands where the product reads the time; `put` moves its hands."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self, zone: tzinfo) -> datetime:
        """Return what the clock shows."""
        return datetime.now(zone) + self.offset

    def put(self, **by: float) -> None:
        """Put it forward, or back, by so much: `put(hours=-1)`."""
        self.offset += timedelta(**by)


@contextmanager
def put_clock() -> Iterator[PutClock]:
    """Let this process read a clock that can be put forward and back."""
    clock = PutClock()
    with patch("batching.clock.datetime", clock):
        yield clock
