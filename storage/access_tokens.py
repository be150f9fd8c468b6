"""The API tokens of an installation: `tokens.json`, readable by its owner only."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from batching.access import LONGEST_TOKEN_NAME, AccessToken, Scope, new_token
from batching.errors import BadInput, ConfigurationError
from storage.directory import DataDirectory
from storage.locks import exclusive_lock
from storage.private_files import write_privately


class _TokenFile(msgspec.Struct, frozen=True, kw_only=True):
    tokens: tuple[AccessToken, ...] = ()


def read_tokens(directory: DataDirectory) -> tuple[AccessToken, ...]:
    """Return all tokens ever made, the revoked ones too; ConfigurationError if unreadable."""
    try:
        content = directory.tokens.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigurationError(
            f"{directory.tokens} cannot be read ({error.strerror}): let this user read it"
        ) from error
    try:
        return msgspec.json.decode(content, type=_TokenFile).tokens
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"{directory.tokens} is damaged ({error}): restore it, or delete it and make new tokens"
        ) from None


def create_token(directory: DataDirectory, *, name: str, scopes: Collection[Scope]) -> str:
    """Keep a new token and return its text, which is never shown again."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_TOKEN_NAME:
        raise BadInput(f"a token's name has 1 to {LONGEST_TOKEN_NAME} visible characters")
    token, text = new_token(name, scopes, created_at=datetime.now(UTC))

    def added(tokens: tuple[AccessToken, ...]) -> tuple[AccessToken, ...]:
        if any(other.name == name and other.revoked_at is None for other in tokens):
            raise BadInput(
                f"there is a token {name!r} already: the audit trail tells tokens apart by name; "
                f"take another one, or `obm token revoke {name}` first"
            )
        return (*tokens, token)

    _change(directory, added)
    return text


def revoke_token(directory: DataDirectory, name_or_id: str) -> AccessToken:
    """End a token for ever and return it; BadInput if no valid token is called so."""

    def ended(tokens: tuple[AccessToken, ...]) -> tuple[AccessToken, ...]:
        meant = _valid_token(tokens, name_or_id)
        return tuple(
            replace(token, revoked_at=datetime.now(UTC)) if token is meant else token
            for token in tokens
        )

    return _valid_token(_change(directory, ended), name_or_id)


def _valid_token(tokens: Collection[AccessToken], name_or_id: str) -> AccessToken:
    for token in tokens:
        if token.revoked_at is None and name_or_id in {token.name, token.id}:
            return token
    names = ", ".join(token.name for token in tokens if token.revoked_at is None)
    raise BadInput(f"there is no valid token {name_or_id!r}; valid are: {names or 'none'}")


def _change(
    directory: DataDirectory,
    changed: Callable[[tuple[AccessToken, ...]], tuple[AccessToken, ...]],
) -> tuple[AccessToken, ...]:
    """Put the changed tokens in the place of those that there were, which are returned."""
    with exclusive_lock(directory.locks / "tokens.lock"):
        before = read_tokens(directory)
        _write(directory, changed(before))
    return before


def _write(directory: DataDirectory, tokens: tuple[AccessToken, ...]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_TokenFile(tokens=tokens)), indent=2)
    write_privately(directory.tokens, content + b"\n")
