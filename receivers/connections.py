"""Connections that do not say what they want are closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receivers.answers import api_error


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

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every other error, and end the connection."""
        body = api_error(400, "invalid_http", "Bad Request", msg).body
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()


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
