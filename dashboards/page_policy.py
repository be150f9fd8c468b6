"""What a page of the dashboard may load and run in a browser."""

import re
import secrets
from typing import Final

_NONCE_BYTES: Final = 16
_SCRIPT: Final = re.compile(rb"<script(?=[\s>])")
_HOST: Final = re.compile(rb"[A-Za-z0-9.:\[\]_-]+")
_POLICY: Final = (
    "default-src 'none'; "
    # Components of Panel are modules in blobs. Bokeh and Panel make functions of text only for
    # callbacks and templates that are written as text: the dashboard has none, its tests see to it.
    "script-src 'self' 'nonce-{nonce}' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob:{websockets}; worker-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def new_nonce() -> str:
    """Return a word that nobody can know before the page that carries it."""
    return secrets.token_urlsafe(_NONCE_BYTES)


def policy_of(nonce: str, host: bytes) -> bytes:
    """Return the Content-Security-Policy of a page that was asked for under this host."""
    # Older browsers do not count websockets of the same host as 'self'.
    known = host.decode() if _HOST.fullmatch(host) else ""
    websockets = f" ws://{known} wss://{known}" if known else ""
    return _POLICY.format(nonce=nonce, websockets=websockets).encode()


def with_nonce(page: bytes, nonce: str) -> bytes:
    """Return the page with its own scripts marked as such; its data come by the websocket."""
    return _SCRIPT.sub(b'<script nonce="' + nonce.encode() + b'"', page)
