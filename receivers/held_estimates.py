"""Reads files that wait, one after the other, in a thread: what they would send and cost."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from batching.errors import BatchManagerError
from batching.requests import ReadingRules
from batching.settings import Settings
from storage.held_estimates import HeldEstimate, estimate_held_file, read_estimate
from storage.held_files import HeldFile
from storage.reports.terms import Terms

logger = logging.getLogger(__name__)

_MOST_KNOWN: Final = 100
_LONGEST_PAUSE_SECONDS: Final = 0.05


class _GivenUp(Exception):
    """Nobody waits for this any more."""


@dataclass(kw_only=True, slots=True)
class Reading:
    """How far the reading of a file has come."""

    read_bytes: int = 0
    trouble: str | None = None
    """Why it cannot be estimated here."""
    is_over: bool = False


class HeldEstimates:
    """The estimates under way in this process; may be used from any thread."""

    def __init__(
        self,
        settings: Settings,
        rules: Callable[[], ReadingRules],
        caps: Callable[[], Mapping[str, int]],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._caps = caps
        self._lock = threading.Lock()
        self._waiting: deque[HeldFile] = deque()
        self._readings: dict[str, Reading] = {}
        self._is_working = False
        self._is_stopped = False

    def begin(self, held: HeldFile) -> Reading:
        """Read a file as soon as its turn comes; return how far that is, now and later."""
        with self._lock:
            reading = self._readings.get(held.held)
            if reading is None:
                reading = self._readings[held.held] = Reading()
                self._waiting.append(held)
                self._forget_old()
                if not self._is_working:
                    self._is_working = True
                    threading.Thread(target=self._work, name="estimates", daemon=True).start()
            return reading

    def look(self, held: HeldFile) -> tuple[HeldEstimate | None, Reading]:
        """Return the estimate if it is there, else None and how far it is; begin it if need be."""
        estimate = read_estimate(held)
        if estimate is not None:
            return estimate, Reading(read_bytes=held.bytes, is_over=True)
        reading = self.begin(held)
        return (read_estimate(held) if reading.is_over else None), reading

    def stop(self) -> None:
        """Give up what is under way; it is begun anew when somebody asks again."""
        self._is_stopped = True

    @cached_property
    def _terms(self) -> Terms:
        return Terms.of(self._settings)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._is_stopped:
                    self._is_working = False
                    return
                held = self._waiting.popleft()
                reading = self._readings[held.held]
            self._read(held, reading)

    def _read(self, held: HeldFile, reading: Reading) -> None:
        began = time.monotonic()

        def heard(read_bytes: int) -> None:
            nonlocal began
            reading.read_bytes = read_bytes
            if self._is_stopped or not held.path.exists():
                raise _GivenUp
            # Half of the time belongs to those who send requests meanwhile.
            time.sleep(min(time.monotonic() - began, _LONGEST_PAUSE_SECONDS))
            began = time.monotonic()

        try:
            estimate_held_file(
                held, terms=self._terms, caps=self._caps(), rules=self._rules(), on_progress=heard
            )
        except (_GivenUp, FileNotFoundError):
            logger.info("a file that waits is not estimated: it was started or discarded")
        except (BatchManagerError, OSError) as error:
            reading.trouble = str(error)
        except Exception:
            logger.exception("a file that waits cannot be estimated")
            reading.trouble = "something went wrong, the log says what"
        finally:
            reading.is_over = True

    def _forget_old(self) -> None:
        over = [name for name, reading in self._readings.items() if reading.is_over]
        for name in over[: max(0, len(self._readings) - _MOST_KNOWN)]:
            del self._readings[name]
