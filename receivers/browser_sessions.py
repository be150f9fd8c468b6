"""Browsers that are logged in: the cookie that they show, and who they are by it."""

import math
from hashlib import sha256
from typing import Final

from starlette.types import Scope

from batching.access import AccessToken, Identity
from receivers.context import WebContext
from storage.web_sessions import SESSION_LASTS, WebSession, begin_session, end_session, hash_of

_NAME_CHARACTERS: Final = 8
_LONGEST_SECRET: Final = 100


class BrowserSessions:
    """Tells who a browser is, and logs browsers in and out."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._by_hash: dict[str, WebSession] = {}
        self._known_of: tuple[WebSession, ...] = ()
        self._cookie = cookie_name(str(context.directory.root)).encode()

    def identity(self, scope: Scope, tokens: tuple[AccessToken, ...]) -> Identity | None:
        """Return who has logged in with the browser that asks, or None."""
        secret = self._secret(scope)
        session = None if secret is None else self._sessions().get(hash_of(secret))
        if session is None or session.is_over:
            return None
        for token in tokens:
            if token.id == session.token_id and token.revoked_at is None:
                return Identity.of(token)
        return None

    def begin(self, token: AccessToken, *, is_secure: bool) -> bytes:
        """Log a browser in; return the cookie for it."""
        secret = begin_session(self._context.directory, token.id)
        self._context.sessions.look_again()
        return self._set_cookie(secret, math.ceil(SESSION_LASTS.total_seconds()), is_secure)

    def end(self, scope: Scope, *, is_secure: bool) -> bytes:
        """Log the browser out that asks; return what makes it forget its cookie."""
        secret = self._secret(scope)
        if secret is not None and hash_of(secret) in self._sessions():
            end_session(self._context.directory, secret)
            self._context.sessions.look_again()
        return self._set_cookie("", 0, is_secure)

    def _sessions(self) -> dict[str, WebSession]:
        sessions = self._context.sessions.now()
        if sessions is not self._known_of:
            self._by_hash = {session.secret_sha256: session for session in sessions}
            self._known_of = sessions
        return self._by_hash

    def _secret(self, scope: Scope) -> str | None:
        for name, value in scope["headers"]:
            if name == b"cookie":
                for part in value.split(b";"):
                    cookie, _, secret = part.strip().partition(b"=")
                    if cookie == self._cookie and 0 < len(secret) < _LONGEST_SECRET:
                        return str(secret, "latin-1")
        return None

    def _set_cookie(self, secret: str, seconds: int, is_secure: bool) -> bytes:  # noqa: FBT001 - private
        secure = "; Secure" if is_secure else ""
        text = f"={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        return self._cookie + text.encode()


def cookie_name(data_directory: str) -> str:
    """Return the cookie's name, another one for each installation: ports of a host share them."""
    return f"obm_session_{sha256(data_directory.encode()).hexdigest()[:_NAME_CHARACTERS]}"
