"""Headers on every answer that keep browsers from doing harm with it."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_NOTHING: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For answers that bring no policy of their own: they are data, and nothing in them may run."""
_ALWAYS_AND_NOTHING: Final = (*_ALWAYS, _NOTHING)


class SecurityHeaders:
    """Adds the headers to whatever the application answers; its own values win."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message["headers"]
                names = {name for name, _ in own}
                message["headers"] = [
                    *own,
                    *(header for header in _ALWAYS_AND_NOTHING if header[0] not in names),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
