"""Closing a connection without an answer, as a broken network would."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

CONNECTION = "simulator.connection"
TURNS_UNTIL_CLOSED = 3


class ConnectionDroppedError(Exception):
    """The connection is to be closed without an answer."""


class WithConnection:
    """Lets handlers reach the connection that their request came over."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the connection of a request and pass the request on."""
        # uvicorn's `send` is a method of the request, which knows its connection.
        scope[CONNECTION] = send.__self__.transport  # type: ignore[attr-defined] # see above
        await self._application(scope, receive, send)


class NoResponse(Response):
    """No answer at all, and the end of the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection."""
        del receive, send
        await drop_connection(scope)


async def drop_connection(scope: Scope) -> None:
    """Close the connection of a request at once, and wait until the server has noticed."""
    scope[CONNECTION].abort()
    for _ in range(TURNS_UNTIL_CLOSED):
        await asyncio.sleep(0)
