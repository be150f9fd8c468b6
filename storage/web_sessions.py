"""Who is logged in to the dashboard: `web-sessions.json`, so that a restart logs nobody out."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec

from storage.directory import DataDirectory
from storage.locks import exclusive_lock
from storage.private_files import write_privately

SESSION_LASTS: Final = timedelta(days=30)
_MOST_SESSIONS: Final = 1_000
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSession:
    """One browser that is logged in; it may what its token may, as long as that is valid."""

    secret_sha256: str
    token_id: str
    created_at: datetime

    @property
    def is_over(self) -> bool:
        """Whether it is too old."""
        return datetime.now(UTC) - self.created_at > SESSION_LASTS


class _SessionFile(msgspec.Struct, frozen=True, kw_only=True):
    sessions: tuple[WebSession, ...] = ()


def read_sessions(directory: DataDirectory) -> tuple[WebSession, ...]:
    """Return the sessions of all browsers; what cannot be read logs everybody out."""
    try:
        content = directory.web_sessions.read_bytes()
        return msgspec.json.decode(content, type=_SessionFile).sessions
    except (OSError, msgspec.MsgspecError):
        return ()


def begin_session(directory: DataDirectory, token_id: str) -> str:
    """Log a browser in with a token and return the secret that it has to show."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    session = WebSession(
        secret_sha256=hash_of(secret), token_id=token_id, created_at=datetime.now(UTC)
    )

    def begun(sessions: tuple[WebSession, ...]) -> tuple[WebSession, ...]:
        alive = [other for other in sessions if not other.is_over]
        return (*alive[-_MOST_SESSIONS + 1 :], session)

    _change(directory, begun)
    return secret


def end_session(directory: DataDirectory, secret: str) -> None:
    """Log the browser out that shows this secret."""
    ended = hash_of(secret)
    _change(
        directory,
        lambda sessions: tuple(each for each in sessions if each.secret_sha256 != ended),
    )


def hash_of(secret: str) -> str:
    """Return what is kept of a secret; its 256 random bits cannot be guessed back."""
    return sha256(secret.encode()).hexdigest()


def _change(
    directory: DataDirectory,
    changed: Callable[[tuple[WebSession, ...]], tuple[WebSession, ...]],
) -> None:
    with exclusive_lock(directory.locks / "web-sessions.lock"):
        sessions = changed(read_sessions(directory))
        content = msgspec.json.encode(_SessionFile(sessions=sessions))
        write_privately(directory.web_sessions, msgspec.json.format(content, indent=2) + b"\n")
