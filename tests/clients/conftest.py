"""A provider that answers by script, over a real loopback socket."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from broker import broker, own_broker  # noqa: F401 - fixtures for the tests of this folder
from publishing import publisher, publisher_of, queue, unused_name  # noqa: F401 - fixtures too

from batching.settings import Settings
from clients.openai_batches import OpenAIBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK_BYTES = 1 << 20
KEY = "sk-secret-0123456789"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server does with one call."""

    status: int = 200
    content: bytes = b""
    file: Path | None = None
    """Sent instead of the content."""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    announced_bytes: int | None = None
    """The Content-Length that is sent: more than the content cuts the answer short."""
    reset: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes
    connection: int
    """The client's port: the same for calls over one connection."""

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class ScriptedServer(ThreadingHTTPServer):
    """Gives the scripted answers in turn and remembers the calls."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[Call] = []
        self.remembers_content = True
        self._answers: deque[Answer] = deque()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def say(self, body: Any = b"", *, status: int = 200, **how: Any) -> ScriptedServer:
        """Add an answer: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answers.append(Answer(status=status, content=content, **how))
        return self

    def say_file(self, file: Path) -> ScriptedServer:
        """Add an answer that streams a file."""
        self._answers.append(Answer(file=file, announced_bytes=file.stat().st_size))
        return self

    def refuse(
        self, status: int, message: str = "no", *, code: str | None = None, **how: Any
    ) -> ScriptedServer:
        """Add an error answer in OpenAI's shape."""
        error = {"message": message, "type": "some_error", "param": None, "code": code}
        return self.say({"error": error}, status=status, **how)

    def next_answer(self) -> Answer:
        return self._answers.popleft() if self._answers else Answer(status=599, content=b"{}")

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def _answer(self) -> None:
        content = self._read()
        self.server.calls.append(
            Call(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                content=content,
                connection=self.client_address[1],
            )
        )
        answer = self.server.next_answer()
        time.sleep(answer.delay_seconds)
        if answer.reset:
            self._reset()
            return
        length = len(answer.content) if answer.announced_bytes is None else answer.announced_bytes
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.file is not None:
            with answer.file.open("rb") as file:
                shutil.copyfileobj(file, self.wfile, CHUNK_BYTES)
            return
        self.wfile.write(answer.content)
        self.close_connection = length != len(answer.content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server asks for

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raise AssertionError("the client is expected to announce the length of what it sends")
        left = int(self.headers.get("Content-Length", 0))
        content = bytearray()
        while left and (chunk := self.rfile.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            if self.server.remembers_content:
                content += chunk
        return bytes(content)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        thread = threading.Thread(target=scripted.serve_forever, args=(0.02,))
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


@pytest.fixture
def settings_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)

    def make(url: str, **values: Any) -> Settings:
        known = {"openai_base_url": url, "openai_api_key": KEY, **values}
        return Settings(_env_file=None, **known)

    return make


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that the client would have made."""
    return []


@pytest.fixture
def client_of(
    settings_for: Callable[..., Settings], pauses: list[float]
) -> Iterator[Callable[..., OpenAIBatches]]:
    made: list[OpenAIBatches] = []

    def make(url: str, **values: Any) -> OpenAIBatches:
        made.append(OpenAIBatches(settings_for(url, **values), pause=pauses.append))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(server: ScriptedServer, client_of: Callable[..., OpenAIBatches]) -> OpenAIBatches:
    return client_of(server.url)
