"""`obm token`: who may use the REST API."""

import sys
from collections.abc import Sequence

from rich.table import Table

from batching.access import AccessToken, Scope
from deployments.cli.recording import on_record
from deployments.cli.steering import actor
from deployments.cli.surroundings import data_directory, load_settings, out, print_json, say
from storage import access_tokens
from storage.switches import end_token, issue_token

_SHOWN_ONCE = (
    "This is the only time that it is shown: keep it where your programs find secrets, and send "
    "it as `Authorization: Bearer obm_…`."
)
_FIRST = "From now on every call of the API needs a token, on this machine too."


def create(name: str, scopes: Sequence[Scope]) -> None:
    """Make a token; it alone goes to standard output, for scripts."""
    settings = load_settings()
    directory = data_directory(settings)
    is_first = not access_tokens.read_tokens(directory)
    text = on_record(
        settings,
        lambda ledger: issue_token(ledger, name=name, scopes=scopes, actor=actor()),
        lambda: access_tokens.create_token(directory, name=name, scopes=scopes),
    )
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"{_SHOWN_ONCE}\n")
    if is_first:
        sys.stderr.write(f"{_FIRST}\n")


def show(*, as_json: bool) -> None:
    """Print all tokens without their secrets."""
    tokens = access_tokens.read_tokens(data_directory(load_settings()))
    if as_json:
        print_json([_row(token) for token in tokens])
    elif not tokens:
        say("There are no tokens: `obm token create NAME --scope submit --scope read` makes one.")
    else:
        out().print(_table(tokens))


def revoke(name: str) -> None:
    """End a token."""
    settings = load_settings()
    token = on_record(
        settings,
        lambda ledger: end_token(ledger, name, actor=actor()),
        lambda: access_tokens.revoke_token(data_directory(settings), name),
    )
    say(f"Token {token.name} ({token.id}) is not valid any more; running servers notice at once.")


def _row(token: AccessToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "created_at": token.created_at,
        "revoked_at": token.revoked_at,
    }


def _table(tokens: Sequence[AccessToken]) -> Table:
    table = Table("id", "name", "scopes", "created", "state", box=None, pad_edge=False)
    for token in tokens:
        state = f"revoked {token.revoked_at:%Y-%m-%d}" if token.revoked_at else "valid"
        table.add_row(
            token.id, token.name, ", ".join(token.scopes), f"{token.created_at:%Y-%m-%d}", state
        )
    return table
