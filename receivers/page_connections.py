"""Websockets of the dashboard: refused before they open, ended when their visitor may no more."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY_VIOLATION: Final = 1008
_LOOK_SECONDS: Final = 0.5


async def refuse_connection(receive: Receive, send: Send) -> None:
    """Refuse a websocket; its client sees 403."""
    await receive()
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


async def serve_connection(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, is_allowed: Callable[[], bool]
) -> None:
    """Serve a websocket for as long as it is allowed."""
    is_open = True

    async def send_while_open(message: Message) -> None:
        nonlocal is_open
        if is_open:
            is_open = message["type"] != "websocket.close"
            await send(message)

    async def end_when_forbidden() -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not is_allowed():
                break
        await send_while_open({"type": "websocket.close", "code": _POLICY_VIOLATION})

    watch = asyncio.create_task(end_when_forbidden())
    try:
        await app(scope, receive, send_while_open)
    finally:
        watch.cancel()
