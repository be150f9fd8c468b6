"""How the dashboard's answers travel: packed, kept by browsers, and unable to do harm there."""

import re
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.page_policy import new_nonce, policy_of, with_nonce

_PACKED_FROM_BYTES: Final = 1_000
_LEVEL: Final = 5
_FOR_EVER: Final = b"public, max-age=31536000, immutable"
_AN_HOUR: Final = b"public, max-age=3600"
_VERSION: Final = re.compile(r"@\d")
_FILES: Final = "/static/"
_REFERRER: Final = (b"referrer-policy", b"same-origin")
"""Without it, forms of the page would not say where they come from."""
_OK: Final = 200


class Transfer:
    """Packs what is large, and adds the headers that files and pages need."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = GZipMiddleware(
            _Dressed(app), minimum_size=_PACKED_FROM_BYTES, compresslevel=_LEVEL
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)


class _Dressed:
    """Gives files their time to live, and pages the policy that holds them in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_FILES):
            await self._app(scope, receive, _as_file(scope, send))
        else:
            await self._app(scope, receive, _as_page(scope, send))


def _as_file(scope: Scope, send: Send) -> Send:
    async def send_file(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == _OK:
            message["headers"].append((b"cache-control", _how_long(scope)))
        await send(message)

    return send_file


def _as_page(scope: Scope, send: Send) -> Send:
    """Return a way to send that waits for the whole page, to mark the scripts in it."""
    nonce, body = new_nonce(), bytearray()
    start: Message = {}

    async def send_page(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        page = with_nonce(bytes(body), nonce)
        own = [header for header in start["headers"] if header[0] != b"content-length"]
        policy = policy_of(nonce, Headers(scope=scope).get("host", "").encode())
        length = (b"content-length", b"%d" % len(page))
        start["headers"] = [*own, length, (b"content-security-policy", policy), _REFERRER]
        await send(start)
        await send({**message, "body": page})

    return send_page


def _how_long(scope: Scope) -> bytes:
    """Return how long a file may be kept: for ever if its address changes with its content."""
    is_lasting = scope["query_string"] or _VERSION.search(scope["path"])
    return _FOR_EVER if is_lasting else _AN_HOUR
