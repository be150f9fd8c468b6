"""A server in front of a provider that passes every call on and spoils some of the answers."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from fuzzed_answers import Spoiler, encoded

_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that was passed on, and what came of it."""

    kind: str
    """`create`, `poll`, `cancel`, `list`, `upload`, `file`, `files`, `content` or `delete`."""
    status: int
    body: bytes

    @property
    def value(self) -> Any:
        """The answer, None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


Spoil = Callable[[Call], bytes | None]
"""Returns what is answered instead, None for what it was."""


class SpoilingServer(ThreadingHTTPServer):
    """Passes calls on to a provider; what `spoil` returns is answered instead.

    With `alone` nothing is passed on: there is only what `spoil` returns, with status 200.
    """

    daemon_threads = True

    def __init__(self, target: str, spoil: Spoil, *, alone: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.spoilt: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self._spoil = spoil
        self.alone = alone
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.server_address[1]}{self.target.path}"

    def answer_of(self, call: Call) -> bytes:
        """Return what is answered to a call."""
        with self._one_at_a_time:
            spoilt = self._spoil(call) if call.status < 300 else None
            self.passed[call.kind] += 1
            self.spoilt[call.kind] += spoilt is not None
        return call.body if spoilt is None else spoilt

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self._thread.join()
        super().__exit__(kind, error, trace)

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SpoilingServer

    def _pass_on(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.alone:
            self._answer(Call(kind=_kind(self.command, self.path), status=200, body=b"null"), ())
            return
        target = self.server.target
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        try:
            connection.request(self.command, self.path, body=content, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        call = Call(kind=_kind(self.command, self.path), status=answer.status, body=body)
        self._answer(call, answer.getheaders())

    def _answer(self, call: Call, headers: Iterable[tuple[str, str]]) -> None:
        body = self.server.answer_of(call)
        self.send_response(call.status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


def _kind(method: str, path: str) -> str:
    parts = urlsplit(path).path.strip("/").split("/")[1:]
    if method == "DELETE":
        return "delete"
    if parts[0] == "batches":
        names = {1: "create" if method == "POST" else "list", 2: "poll", 3: "cancel"}
    else:
        names = {1: "upload" if method == "POST" else "files", 2: "file", 3: "content"}
    return names[len(parts)]


class SpoiltAnswers:
    """Spoils a share of the answers of some kinds, each in a way that chance decides."""

    def __init__(self, seed: int, kinds: frozenset[str], *, share: float) -> None:
        self._spoiler = Spoiler(seed)
        self._kinds = kinds
        self._share = share

    def __call__(self, call: Call) -> bytes | None:
        """Return what is answered instead of the call's answer."""
        if call.kind not in self._kinds or self._spoiler.chance.random() >= self._share:
            return None
        if call.kind == "content":
            return self._spoiler.file(call.body.splitlines())
        if call.kind == "poll" and self._spoiler.chance.random() < 0.5:
            return encoded(self._spoiler.batch(call.value))
        return self._spoiler.answer(call.value)
