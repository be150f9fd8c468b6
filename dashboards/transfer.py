"""How the dashboard's answers travel: packed, kept by browsers, and unable to do harm there."""

from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PACKED_FROM_BYTES: Final = 1_000
_LEVEL: Final = 5
_FOR_EVER: Final = b"public, max-age=31536000, immutable"
_AN_HOUR: Final = b"public, max-age=3600"
_FILES: Final = ("/static/", "/components/")
_POLICY: Final = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    b"connect-src 'self' blob:; worker-src 'self' blob:; manifest-src 'self'; base-uri 'self'; "
    b"form-action 'self'; frame-ancestors 'none'"
)


class Transfer:
    """Packs what is large, and adds the headers that files and pages need."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = GZipMiddleware(app, minimum_size=_PACKED_FROM_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_file = scope["path"].startswith(_FILES)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not is_file:
                    message["headers"].append((b"content-security-policy", _POLICY))
                elif message["status"] == 200:  # noqa: PLR2004 - OK
                    message["headers"].append((b"cache-control", _how_long(scope)))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _how_long(scope: Scope) -> bytes:
    """Return how long a file may be kept: for ever if its version stands in its address."""
    return _FOR_EVER if b"v=" in scope["query_string"] else _AN_HOUR
