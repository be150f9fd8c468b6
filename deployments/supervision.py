"""Keeping child processes alive: restart with growing pauses, give up on a hopeless one."""

import logging
import time
from dataclasses import dataclass

from deployments.children import Child, Role, stop_all

_log = logging.getLogger(__name__)

CONFIGURATION_EXIT_CODE = 2
"""What our commands end with when a person must change something first."""
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
_STEADY_SECONDS = 60.0
_HOPELESS_STARTS = 4
_LAST_SECONDS = 2.5
"""Held back for roles that end last."""


class RoleFailed(Exception):
    """A role cannot be started at all."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class _Watched:
    child: Child
    was_ready: bool = False
    deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Starts roles, and starts them again when they die."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []

    def start(self, role: Role) -> Child:
        """Start a role and watch it from now on."""
        child = Child(role)
        child.start()
        self._watched.append(_Watched(child))
        return child

    def look_after(self) -> None:
        """Restart what has died; call it about every second, from the main thread."""
        for watched in self._watched:
            if watched.child.is_alive:
                _note_alive(watched)
            elif watched.restart_at is None:
                _note_death(watched)
            elif time.monotonic() >= watched.restart_at:
                watched.restart_at = None
                watched.child.start()

    def stop(self, timeout_seconds: float) -> None:
        """Stop all, together, but for those that others need: these follow in the time left."""
        deadline = time.monotonic() + timeout_seconds
        while self._watched:
            needed = {watched.child.role.after for watched in self._watched}
            children = [w.child for w in self._watched if w.child.role.name not in needed]
            self._watched = [w for w in self._watched if w.child.role.name in needed]
            held_back = _LAST_SECONDS if self._watched else 0.0
            stop_all(children, max(0.1, deadline - time.monotonic() - held_back))


def _note_alive(watched: _Watched) -> None:
    child = watched.child
    child.trim_log()
    if not watched.was_ready:
        watched.was_ready = child.is_ready
    if watched.deaths and time.monotonic() - child.started_at > _STEADY_SECONDS:
        watched.deaths = 0


def _note_death(watched: _Watched) -> None:
    child = watched.child
    watched.deaths += 1
    _raise_if_hopeless(watched)
    if not child.role.restart:
        watched.restart_at = float("inf")
        return
    pause = min(_FIRST_PAUSE_SECONDS * 2 ** (watched.deaths - 1), _LONGEST_PAUSE_SECONDS)
    watched.restart_at = time.monotonic() + pause
    _log.warning(
        "%s ended (exit code %s); starting it again in %.1f s",
        child.role.name,
        child.exit_code,
        pause,
    )


def _raise_if_hopeless(watched: _Watched) -> None:
    child = watched.child
    if child.exit_code == CONFIGURATION_EXIT_CODE:
        raise RoleFailed(
            f"{child.role.name} cannot run with this configuration. {child.last_words()}".strip(),
            exit_code=CONFIGURATION_EXIT_CODE,
        )
    if not watched.was_ready and watched.deaths >= _HOPELESS_STARTS:
        raise RoleFailed(
            f"{child.role.name} ended {watched.deaths} times before it was ready "
            f"(exit code {child.exit_code}). {child.last_words()}".strip(),
            exit_code=1,
        )
