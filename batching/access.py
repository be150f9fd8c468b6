"""Who may use the API: tokens with scopes. A token is shown once; only its hash is kept."""

import hmac
import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"obm_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
LONGEST_TOKEN_NAME: Final = 100
VISITOR_HEADER: Final = "X-Obm-Visitor"
"""Tells the dashboard who opens a page; set by the web process, never by a browser."""


class Scope(StrEnum):
    """What a token allows; none of them implies another."""

    SUBMIT = "submit"
    """Bring requests in: single ones, bulk uploads, files."""
    READ = "read"
    """See requests, jobs, batches, results and metrics."""
    OPERATE = "operate"
    """Cancel, restart, redeliver, flush and delete."""


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessToken:
    """A token as it is kept: the hash of its secret, and what it allows."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    secret_sha256: str
    revoked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who sent a request, and what he may do."""

    name: str
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """How he is called in the audit trail."""
        return f"api:{self.name}"

    def as_header(self) -> str:
        """Return who it is as a value of VISITOR_HEADER."""
        return json.dumps({"name": self.name, "scopes": sorted(self.scopes)})

    @classmethod
    def of(cls, token: AccessToken) -> "Identity":
        """Return who owns the token."""
        return cls(name=token.name, scopes=frozenset(token.scopes))

    @classmethod
    def from_header(cls, value: str) -> "Identity":
        """Return who is meant by a value of VISITOR_HEADER."""
        found = json.loads(value)
        return cls(name=found["name"], scopes=frozenset(map(Scope, found["scopes"])))


LOCAL: Final = Identity(name="local", scopes=ALL_SCOPES)
"""Whoever uses a server that only this machine reaches and that has no tokens."""


def new_token(
    name: str, scopes: Collection[Scope], *, created_at: datetime
) -> tuple[AccessToken, str]:
    """Return a token to keep, and the text that its owner gets once."""
    token_id = secrets.token_hex(_ID_BYTES)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    token = AccessToken(
        id=token_id,
        name=name,
        scopes=tuple(scope for scope in Scope if scope in scopes),
        created_at=created_at,
        secret_sha256=_hash_of(secret),
    )
    return token, f"obm_{token_id}_{secret}"


def find_identity(text: str, tokens: Collection[AccessToken]) -> Identity | None:
    """Return who owns this token, or None if it is unknown, wrong or revoked."""
    token = find_token(text, tokens)
    return None if token is None else Identity.of(token)


def find_token(text: str, tokens: Collection[AccessToken]) -> AccessToken | None:
    """Return the token that has this text, or None if it is unknown, wrong or revoked."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    # The secret has 256 random bits: a plain hash of it cannot be guessed back.
    given = _hash_of(match[2])
    for token in tokens:
        if token.id == match[1] and token.revoked_at is None:
            return token if hmac.compare_digest(given, token.secret_sha256) else None
    return None


def _hash_of(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
