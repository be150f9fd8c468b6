"""A receiver of webhooks in a process of its own, whose manners can be changed while it runs.

`with WebReceiver() as receiver:` starts it; `receiver.url("/hook")` is where to POST, and
`receiver.set_behaviour("/hook", throttles(2))` decides what everything below that path gets.
"""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROGRAM = Path(__file__).with_name("web_receiver_process.py")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one path does with a POST; made by the functions below."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    trickle_seconds: float | None = None
    """Between two bytes of the answer's body."""
    silent: bool = False
    reset: str | None = None
    """"connect" or "body": where the connection is torn down."""
    closes: bool = False
    """Closes the connection after the answer without having said so."""
    early: bool = False
    """Answers as soon as the headers are there."""
    failed: tuple[str, ...] | None = None
    """Keys or custom ids of results that are not accepted."""
    reason: str | None = None
    times: int | None = None
    """For so many POSTs; afterwards as `then` says."""
    then: dict[str, Any] | None = None


def answers(status: int, body: str = "", headers: dict[str, str] | None = None) -> Behaviour:
    return Behaviour(status=status, body=body, headers=headers or {})


def throttles(retry_after: float | str, status: int = 429) -> Behaviour:
    """Ask for a pause, in seconds or with an HTTP date."""
    return answers(status, "slow down", {"Retry-After": str(retry_after)})


def redirects(to: str, status: int = 302) -> Behaviour:
    return answers(status, "elsewhere", {"Location": to})


def delays(seconds: float, status: int = 200) -> Behaviour:
    return Behaviour(status=status, delay_seconds=seconds)


def trickles(seconds: float, body: str = "x" * 100) -> Behaviour:
    return Behaviour(trickle_seconds=seconds, body=body)


def never_answers() -> Behaviour:
    return Behaviour(silent=True)


def resets_mid_body() -> Behaviour:
    return Behaviour(reset="body", body="half of an answer")


def resets_at_connect() -> Behaviour:
    """Tear down every new connection, whatever the path."""
    return Behaviour(reset="connect")


def hangs_up_silently(status: int = 200) -> Behaviour:
    """Close each connection after its answer, without a `Connection: close`."""
    return Behaviour(status=status, closes=True)


def answers_early(status: int = 413, body: str = "too large") -> Behaviour:
    return Behaviour(status=status, body=body, early=True)


def accepts_all_but(failed: Iterable[str], reason: str | None = None) -> Behaviour:
    """Answer 200 and name those results of the POST that have one of these keys or custom ids."""
    return Behaviour(failed=tuple(failed), reason=reason)


def first(times: int, behaviour: Behaviour, then: Behaviour | None = None) -> Behaviour:
    """Behave so for the first POSTs, and then as `then` says (default: 200)."""
    chosen = asdict(behaviour) | {"times": times, "then": asdict(then or Behaviour())}
    return Behaviour(**chosen)


@dataclass(frozen=True, kw_only=True)
class Received:
    """One whole POST as it came; a gzip body is decoded, `wire_body` is not."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """Seconds since the epoch."""
    status: int
    """What was answered; 0 for nothing."""
    connection: int
    """The caller's port: the same for POSTs over one connection."""
    wire_body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The parsed lines of an NDJSON body."""
        return [json.loads(line) for line in self.body.splitlines()]


class WebReceiver:
    """The process and its controls; `light` keeps only counts, for measuring."""

    def __init__(
        self, *, light: bool = False, port: int = 0, certificate: Path | None = None
    ) -> None:
        """Start on this port (0: any); the certificate's file holds its key too."""
        self._scheme = "https" if certificate else "http"
        self._command = [sys.executable, str(_PROGRAM), "--port", str(port)]
        self._command += ["--light"] if light else []
        self._command += ["--certificate", str(certificate)] if certificate else []
        self.port = port
        self._control_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the receiver did not start: see its error above")
        self.port, self._control_port = json.loads(line)

    def stop(self) -> None:
        """End the process; `start` begins anew on the same port, remembering nothing."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None
        self._command[self._command.index("--port") + 1] = str(self.port)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def set_behaviour(self, path_prefix: str, behaviour: Behaviour) -> None:
        """Change what everything below the path gets; the longest prefix decides."""
        self._control("POST", "/behaviour", {"prefix": path_prefix, "how": asdict(behaviour)})

    def reset(self) -> None:
        """Forget what came and every behaviour."""
        self._control("POST", "/reset")

    @property
    def count(self) -> int:
        """How many whole POSTs came."""
        return int(json.loads(self._control("GET", "/counts"))["requests"])

    @property
    def line_count(self) -> int:
        """How many lines their bodies had."""
        return int(json.loads(self._control("GET", "/counts"))["lines"])

    def received(self, start: int = 0) -> list[Received]:
        """Return the POSTs in the order of their coming, from this one on."""
        lines = self._control("GET", f"/received?{start}").splitlines()
        return [_decode(json.loads(line)) for line in lines]

    def wait_for(self, count: int, timeout_seconds: float = 30.0) -> list[Received]:
        """Return what came once there are so many POSTs."""
        end = time.monotonic() + timeout_seconds
        while self.count < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.count} of {count} POSTs came in {timeout_seconds} s")
            time.sleep(0.02)
        return self.received()

    def _control(self, method: str, path: str, body: object = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._control_port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body).encode())
            return connection.getresponse().read()
        finally:
            connection.close()


def _decode(record: dict[str, Any]) -> Received:
    for name in ("body", "wire_body"):
        record[name] = base64.b64decode(record[name])
    return Received(**record)
