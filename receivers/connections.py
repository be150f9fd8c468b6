"""Connections that do not say what they want are closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PatientProtocol(HttpToolsProtocol):
    """Knows since when the head of a request is awaited."""

    head_awaited_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        """Begin to wait for the first request."""
        self.head_awaited_since = self.loop.time()
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of the head."""
        self.head_awaited_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop waiting."""
        self.head_awaited_since = None
        super().on_headers_complete()


def close_silent(connections: "set[Any]", timeout_seconds: float) -> int:
    """Close the connections whose heads take longer; return how many."""
    now = asyncio.get_running_loop().time()
    silent = [
        connection
        for connection in connections
        if isinstance(connection, PatientProtocol)
        and connection.head_awaited_since is not None
        and now - connection.head_awaited_since > timeout_seconds
    ]
    for connection in silent:
        connection.transport.close()
    return len(silent)
