"""The one middleware in front of everything: who is asking, and what he may do."""

import math
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from batching.access import LOCAL, AccessToken, Identity, find_identity
from batching.access import Scope as Allowed
from receivers.answers import ApiError, api_error, send_error
from receivers.browser_guard import is_loopback, is_same_origin, why_foreign
from receivers.browser_pages import (
    LOGIN,
    LOGOUT,
    is_file_of_page,
    is_page,
)
from receivers.browser_sessions import BrowserSessions
from receivers.context import WebContext
from receivers.failure_limit import FailureLimit
from receivers.login import lead_to_login
from receivers.page_connections import refuse_connection, serve_connection

SUBMITTING: Final = frozenset({"/api/requests", "/api/requests/bulk", "/api/files"})
"""POST to these needs `submit`, to anything else `operate`."""
HELD_FILES: Final = "/api/held-files/"
"""Who may submit may start and discard what waits there."""
ALWAYS_OPEN: Final = frozenset({"/health"})
PUBLIC_PAGES: Final = ("/api/openapi", "/api/swaggerui", "/api/swaggerui/")
"""What a browser loads before anybody can give it a token; there is no data in it."""
_READING: Final = frozenset({"GET", "HEAD"})
_MOST_KEPT: Final = 1_000
_UNAUTHORIZED: Final = 401


class Authentication:
    """Lets requests through to the application with the identity of who sent them.

    It stands in `scope["identity"]`. Without any token a server that only this machine reaches
    is open to all its users, but not to web pages; as soon as there is one, all need one.
    """

    def __init__(
        self,
        app: ASGIApp,
        context: WebContext,
        failures: FailureLimit,
        sessions: BrowserSessions | None = None,
    ) -> None:
        self._app = app
        self._context = context
        self._sessions = sessions
        self._is_loopback = is_loopback(context.settings.host)
        self._failures = failures
        self._known: dict[bytes, Identity] = {}
        self._known_of: tuple[AccessToken, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._serve_connection(scope, receive, send)
            return
        try:
            scope["identity"] = self._admitted(scope)
        except ApiError as refusal:
            if self._sessions and refusal.status == _UNAUTHORIZED and _is_looked_at(scope):
                await lead_to_login(scope, send)
            else:
                await send_error(send, refusal)
            return
        await self._app(scope, receive, send)

    async def _serve_connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["method"] = "GET"  # it has none of its own; looking on is reading

        def is_allowed() -> bool:
            try:
                return self._admitted(scope) == identity
            except ApiError:
                return False

        try:
            identity = scope["identity"] = self._admitted(scope)
        except ApiError:
            await refuse_connection(receive, send)
            return
        if not is_same_origin(scope["headers"]):
            await refuse_connection(receive, send)
            return
        await serve_connection(self._app, scope, receive, send, is_allowed)

    def _admitted(self, scope: Scope) -> Identity:
        tokens = self._context.tokens.now()
        if self._is_loopback and not tokens:
            if (reason := why_foreign(scope["headers"], self._context.settings.host)) is not None:
                raise _foreign(reason)
            return LOCAL
        if _is_public(scope["method"], scope["path"]):
            return _NOBODY
        identity = self._identified(scope, tokens)
        needed = needed_scope(scope["method"], scope["path"])
        if needed is not None and needed not in identity.scopes:
            raise _forbidden(identity, needed)
        return identity

    def _identified(self, scope: Scope, tokens: tuple[AccessToken, ...]) -> Identity:
        given = _authorization(scope)
        if given is None:
            return self._logged_in(scope, tokens)
        if tokens is not self._known_of:
            self._known, self._known_of = {}, tokens
        identity = self._known.get(given)
        if identity is None:
            identity = find_identity(_bearer(given), tokens)
            if identity is None:
                raise self._failed(scope)
            if len(self._known) < _MOST_KEPT:
                self._known[given] = identity
        return identity

    def _logged_in(self, scope: Scope, tokens: tuple[AccessToken, ...]) -> Identity:
        identity = None
        if self._sessions is not None:
            identity = self._sessions.identity(scope, tokens)
        if identity is None:
            raise _unauthorized("send a token: `Authorization: Bearer obm_…`", "")
        if scope["method"] not in _READING and not is_same_origin(scope["headers"]):
            raise _foreign("only pages of this server may act for who is logged in to it")
        return identity

    def _failed(self, scope: Scope) -> ApiError:
        client = scope.get("client")
        wait_seconds = self._failures.count(client[0] if client else "")
        if not wait_seconds:
            return _unauthorized("this token is not valid here", ', error="invalid_token"')
        return api_error(
            429,
            "too_many_failures",
            "Too Many Requests",
            "too many wrong tokens came from this address: correct the token, then wait",
            Retry_After=str(math.ceil(wait_seconds)),
        )


_NOBODY: Final = Identity(name="nobody", scopes=frozenset())


def needed_scope(method: str, path: str) -> Allowed | None:
    """Return the scope that a call needs; None if any valid token will do."""
    if method in _READING:
        return Allowed.READ
    if method == "OPTIONS":
        return None
    if method == "POST" and path in SUBMITTING:
        return Allowed.SUBMIT
    if method in {"POST", "DELETE"} and path.startswith(HELD_FILES):
        return Allowed.SUBMIT
    return Allowed.OPERATE


def _is_public(method: str, path: str) -> bool:
    if path in {LOGIN, LOGOUT}:
        return True
    return method in _READING and (
        path in PUBLIC_PAGES or path.startswith(PUBLIC_PAGES[-1]) or is_file_of_page(path)
    )


def _is_looked_at(scope: Scope) -> bool:
    return scope["method"] in _READING and is_page(scope["path"])


def _authorization(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            found: bytes = value
            return found
    return None


def _bearer(given: bytes) -> str:
    kind, _, token = given.decode("latin-1").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _unauthorized(detail: str, challenge: str) -> ApiError:
    return api_error(
        401,
        "unauthorized",
        "Unauthorized",
        f"{detail} (`obm token create` makes one)",
        WWW_Authenticate=f'Bearer realm="obm"{challenge}',
    )


def _forbidden(identity: Identity, needed: Allowed) -> ApiError:
    return api_error(
        403,
        "insufficient_scope",
        "Forbidden",
        f"the token {identity.name!r} lacks the scope `{needed}`",
        WWW_Authenticate=f'Bearer realm="obm", error="insufficient_scope", scope="{needed}"',
    )


def _foreign(reason: str) -> ApiError:
    return api_error(403, "foreign_page", "Forbidden", reason)
