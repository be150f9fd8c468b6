"""A simulator in a process of its own, for the demo and for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

READY = "Simulator ready: "
STOP_SECONDS = 5.0
CALL_SECONDS = 60.0


class SimulatorProcess:
    """A running simulator that ends with the process that started it."""

    def __init__(
        self,
        directory: Path,
        *,
        speed: float | str = "max",
        scenarios: Sequence[str] = (),
        port: int = 0,
        api_key: str | None = None,
        accounts_by_key: bool = False,
    ) -> None:
        self.directory = directory
        self._port = port
        self._arguments = ["--dir", str(directory), "--speed", str(speed)]
        for scenario in scenarios:
            self._arguments += ["--scenario", scenario]
        if api_key is not None:
            self._arguments += ["--api-key", api_key]
        if accounts_by_key:
            self._arguments.append("--accounts-by-key")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise RuntimeError("the simulator is not running; call start()")
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it is reachable; a restart takes the same port again."""
        command = [sys.executable, "-m", "simulator", "--port", str(self._port)]
        command += ["--parent-process", str(os.getpid()), *self._arguments]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.startswith(READY):
            status = self._process.wait(STOP_SECONDS)
            raise RuntimeError(f"the simulator did not start (exit {status}); see its messages")
        self._port = int(line.strip().removesuffix("/v1").rpartition(":")[2])
        return self

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        if self._process is not None:
            self._process.terminate()
            self._reap()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def restart(self) -> Self:
        """Start again over the same state, after a stop or a kill."""
        self.stop()
        return self.start()

    def counters(self) -> dict[str, Any]:
        """Return what it has counted and billed."""
        return self._call("GET", "/simulator/counters")

    def paid_twice(self) -> list[dict[str, Any]]:
        """Return the first bodies that were paid for more than once."""
        offenders: list[dict[str, Any]] = self._call("GET", "/simulator/paid-twice")["offenders"]
        return offenders

    def scenarios(self) -> list[dict[str, Any]]:
        """Return the scenarios in force."""
        active: list[dict[str, Any]] = self._call("GET", "/simulator/scenarios")["active"]
        return active

    def set_scenarios(
        self, *scenarios: str, model: str | None = None, next_batches: int | None = None
    ) -> None:
        """Put scenarios in force, for some models or the next few batches if wanted."""
        wish = {"scenarios": scenarios, "model": model, "next_batches": next_batches}
        self._call("POST", "/simulator/scenarios", wish)

    def clear_scenarios(self) -> None:
        """Take all scenarios out of force."""
        self._call("DELETE", "/simulator/scenarios")

    def release(self, batch_id: str | None = None) -> int:
        """Let a stuck batch (or all of them) go on; return how many were told."""
        query = "" if batch_id is None else f"?batch={batch_id}"
        return int(self._call("POST", f"/simulator/release{query}")["released"])

    def _call(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own loopback server
            self.url.removesuffix("/v1") + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310 - see above
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]["message"]) from error
        return found

    def _reap(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
