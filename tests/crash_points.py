"""A switchboard of points at which a process can kill itself, for proofs about crashes.

A point is named by what is about to happen and by whom, for instance
`submit · commit · storage.batches.mark_submitted · before`; so every verb has its own points
without knowing of them. The switchboard lives in the process that is to die.
"""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

PRODUCT = (
    "batching", "clients", "deployments", "flows", "receivers", "storage", "tasks",
)  # fmt: skip
_THROUGH = {
    "storage.durable": None,
    "storage.ledger": ("Ledger.transaction", "Ledger._connected", "Transaction."),
}
"""What other functions work through; a point is named after those others."""

_write, _kill = os.write, os.kill
KILLED = "KILLED "


class Switchboard:
    """Notes each point that is passed in a log, and kills the process at the chosen one."""

    def __init__(
        self, log: Path, *, kill_at: str | None, occurrence: int = 1, kill_after: int | None = None
    ) -> None:
        """Die when the named point is passed for the nth time, or at so many points in all."""
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._kill_at, self._occurrence, self._kill_after = kill_at, occurrence, kill_after
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.flow = "start"

    def reach(self, seam: str, moment: str, last_act: Callable[[], object] | None = None) -> None:
        """Pass a point; if it is the chosen one, do a last act and die."""
        name = f"{self.flow} · {seam} · {_caller()} · {moment}"
        with self._lock:
            self._passed[name] += 1
            if not self._is_chosen(name):
                _write(self._log, f"{name}\n".encode())
                return
            if last_act is not None:
                last_act()
            self.die(name)

    def die(self, name: str) -> NoReturn:
        """Leave a mark outside the data directory and kill this process."""
        _write(self._log, f"{KILLED}{name}\n".encode())
        _kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")

    def _is_chosen(self, name: str) -> bool:
        if self._kill_after is not None:
            return self._passed.total() >= self._kill_after
        return name == self._kill_at and self._passed[name] == self._occurrence

    def within(self, flow: str, work: Callable[[], object]) -> Callable[[], object]:
        """Return the work so that its points are those of a flow."""

        def run() -> object:
            self.flow = flow
            try:
                return work()
            finally:
                self.flow = "between"

        return run


def points_in(log: Path) -> Counter[str]:
    """Return the points that a process has passed, in their order, and how often."""
    lines = log.read_text().splitlines()
    return Counter(line for line in lines if not line.startswith(KILLED))


def killed_at(log: Path) -> str | None:
    """Return the point at which a process killed itself, None if it did not."""
    marks = [line for line in log.read_text().splitlines() if line.startswith(KILLED)]
    return marks[-1].removeprefix(KILLED) if marks else None


def _caller() -> str:
    """Return the function of the product that acts, with its callers up to a public one."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        name = frame.f_code.co_qualname
        if module.partition(".")[0] in PRODUCT and not _is_passed_through(module, name):
            names.append(f"{module}.{name}" if not names else name)
            if not name.rpartition(".")[2].startswith("_"):
                break
        frame = frame.f_back
    return " < ".join(names) or "nobody"


def _is_passed_through(module: str, name: str) -> bool:
    if module not in _THROUGH:
        return False
    functions = _THROUGH[module]
    return functions is None or name.startswith(functions)
