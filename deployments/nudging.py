"""Nudges: asking, from any thread, for an extra run of a flow soon."""

import threading
import time
from collections.abc import Callable, Iterable

_FIRST_HOLD_SECONDS = 5.0
_LONGEST_HOLD_SECONDS = 60.0


class Nudges:
    """Which flows shall have an extra run; one waits per flow, however often it is asked for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._known = frozenset(names)
        self._wanted: set[str] = set()
        self._failures: dict[str, int] = {}
        self._held_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def nudge(self, flow_name: str) -> None:
        """Ask for an extra run of this flow; it shows in the Prefect UI like the others."""
        if flow_name not in self._known:
            raise ValueError(f"no flow is called {flow_name!r}; there are {sorted(self._known)}")
        with self._lock:
            is_new = flow_name not in self._wanted
            self._wanted.add(flow_name)
            wake = self._wake
        if is_new and wake is not None:
            wake()

    def on_nudge(self, wake: Callable[[], None] | None) -> None:
        """Have this called, in the nudging thread, when there is something new to take."""
        with self._lock:
            self._wake = wake

    def take(self, free: Iterable[str]) -> tuple[str, ...]:
        """Return the wanted flows among the free ones, and forget that they were wanted."""
        now = time.monotonic()
        with self._lock:
            taken = [name for name in free if self._is_due(name, now)]
            self._wanted.difference_update(taken)
        return tuple(taken)

    def succeeded(self, flow_name: str) -> None:
        """Note that a run of the flow went well: its nudges are followed at once again."""
        with self._lock:
            self._failures.pop(flow_name, None)
            self._held_until.pop(flow_name, None)

    def failed(self, flow_name: str) -> None:
        """Note that a run failed: its nudges wait, so that it does not fail once a second."""
        with self._lock:
            count = self._failures.get(flow_name, 0)
            hold = min(_FIRST_HOLD_SECONDS * 2**count, _LONGEST_HOLD_SECONDS)
            self._failures[flow_name] = min(count + 1, 10)
            self._held_until[flow_name] = time.monotonic() + hold

    def _is_due(self, name: str, now: float) -> bool:
        return name in self._wanted and self._held_until.get(name, 0.0) <= now
