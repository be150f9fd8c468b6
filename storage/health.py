"""What each role says about itself: `health/<role>.json`, small, written seldom."""

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from batching import clock

_REWRITE_SECONDS = 10.0
_FRESH_SECONDS = 3 * _REWRITE_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """A role's own words: what it does, since when, and who last answered it."""

    role: str
    state: str
    since: datetime
    pid: int
    version: str
    written_at: datetime
    last_answers: Mapping[str, datetime]
    """When each outside system last answered this role."""
    message: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Return whether it was written lately enough to be believed."""
        return clock.age_seconds(self.written_at, now) <= _FRESH_SECONDS


class HealthFile:
    """Keeps a role's file up to date; may be used from any thread."""

    def __init__(self, folder: Path, role: str) -> None:
        since = clock.now()
        self._path = folder / f"{role}.json"
        self._lock = threading.Lock()
        self._written = 0.0
        self._health = Health(
            role=role,
            state="starting",
            since=since,
            pid=os.getpid(),
            version=product_version(),
            written_at=since,
            last_answers={},
        )

    def report(self, state: str, message: str | None = None) -> None:
        """Say what the role does now; written at once if it is new, else every 10 s."""
        with self._lock:
            health = self._health
            is_new = (state, message) != (health.state, health.message) or not self._written
            if state != health.state:
                health = replace(health, state=state, since=clock.now())
            self._health = replace(health, message=message)
            if is_new or time.monotonic() - self._written >= _REWRITE_SECONDS:
                self._write()

    def answered(self, system: str) -> None:
        """Note that an outside system has just answered; goes out with the next writing."""
        with self._lock:
            answers = {**self._health.last_answers, system: clock.now()}
            self._health = replace(self._health, last_answers=answers)

    def _write(self) -> None:
        self._health = replace(self._health, written_at=clock.now())
        temporary = self._path.with_suffix(".tmp")
        # No fsync: it is worth nothing after a crash. Unwritable: the next time will tell.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(self._health))
            temporary.replace(self._path)
        self._written = time.monotonic()


def read_health(folder: Path, role: str) -> Health | None:
    """Return what the role last said about itself, or None if it never did."""
    try:
        return msgspec.json.decode((folder / f"{role}.json").read_bytes(), type=Health)
    except (OSError, msgspec.MsgspecError):
        return None


def product_version() -> str:
    """Return the version of the installed product."""
    try:
        return version("openai-batch-manager")
    except PackageNotFoundError:
        return "unknown"
