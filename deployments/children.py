"""The processes that one of our processes starts: what they are, and one running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOG_LIMIT_BYTES = 5_000_000
_TAIL_BYTES = 2_000


@dataclass(frozen=True, kw_only=True)
class Role:
    """One process of the product, as data."""

    name: str
    argv: tuple[str, ...]
    ready_when: Callable[[], bool]
    """Whether it does its work; asked often, so cheap."""
    after: str | None = None
    """The role that must do its work before this one starts, and that outlives it."""
    restart: bool = True
    """Whether it is started again when it ends by itself."""
    environment: Mapping[str, str] | None = None
    """All of its environment; None: the same as ours."""
    log: Path | None = None
    """Where its output goes; None: to our own."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    """What it gets when we die without a chance to stop it."""


class Child:
    """A role's process, in its own session, bound to the life of ours.

    The kernel binds it to the thread that starts it: start it from the main thread.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        """The id of its latest process."""
        if self._process is None:
            raise ValueError(f"{self.role.name} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def is_ready(self) -> bool:
        """Whether it runs and does its work."""
        return self.is_alive and self.role.ready_when()

    def start(self) -> None:
        """Start the process."""
        bound = (sys.executable, "-m", "deployments.parent_bound")
        owner = (str(int(self.role.death_signal)), str(os.getpid()))
        output = None if self.role.log is None else _open_log(self.role.log)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                (*bound, *owner, *self.role.argv),
                env=None if self.role.environment is None else dict(self.role.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if output is not None:
                os.close(output)
        self.started_at = time.monotonic()

    def ask_to_stop(self) -> None:
        """Send its stop signal, if it runs."""
        if self._process is not None and self.is_alive:
            self._process.send_signal(self.role.stop_signal)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for its end; return whether it came in time."""
        if self._process is None:
            return True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, timeout_seconds))
        return not self.is_alive

    def kill(self) -> None:
        """End it, and whatever it has started, at once."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def trim_log(self) -> None:
        """Keep the log file at a bounded size: one earlier part stays beside it."""
        log = self.role.log
        if log is None or not log.exists() or log.stat().st_size < LOG_LIMIT_BYTES:
            return
        # The child appends to the open file, so it is emptied, not renamed.
        log.with_suffix(".1.log").write_bytes(log.read_bytes())
        os.truncate(log, 0)

    def last_words(self) -> str:
        """Return the end of its log, for an error message."""
        log = self.role.log
        if log is None or not log.exists():
            return ""
        return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()


def stop_all(children: list[Child], timeout_seconds: float) -> None:
    """Stop the children together; kill those that need longer."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + timeout_seconds
    for child in children:
        if not child.wait(deadline - time.monotonic()):
            child.kill()


def _open_log(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
