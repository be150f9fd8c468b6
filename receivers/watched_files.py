"""Values that live in small files which others change while we run."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from batching.errors import BatchManagerError

logger = logging.getLogger(__name__)

_Value = TypeVar("_Value")
_LOOK_SECONDS: Final = 0.5


class Watched(Generic[_Value]):
    """What a file says: looked at again after half a second, read again when it has changed.

    Asking is as cheap as asking for the time. What cannot be read leaves the last value in force.
    """

    def __init__(self, path: Path, read: Callable[[], _Value]) -> None:
        self._path = path
        self._read = read
        self._state = _state_of(path)
        self._value = read()
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def now(self) -> _Value:
        """Return the value in force."""
        moment = time.monotonic()
        if moment >= self._look_at:
            self._look_at = moment + _LOOK_SECONDS
            self._look()
        return self._value

    def look_again(self) -> None:
        """Let the next question look at the file; for who has just changed it himself."""
        self._look_at = 0.0

    def _look(self) -> None:
        state = _state_of(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._value = self._read()
        except BatchManagerError as error:
            logger.warning("what was read before stays in force: %s", error)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - quicker, and this is asked for often
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
