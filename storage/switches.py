"""What operators change outside the ledger, told in its audit trail: intake, API tokens."""

from collections.abc import Collection

from batching.access import AccessToken, Scope
from storage.access_tokens import create_token, revoke_token
from storage.intake_gate import pause_intake, resume_intake
from storage.ledger import Ledger


def hold_intake(ledger: Ledger, *, paused: bool, actor: str, reason: str | None = None) -> bool:
    """Let no more requests in, or let them in again; return whether that changed anything."""
    with ledger.transaction() as transaction:
        changed = (
            pause_intake(ledger.directory, actor=actor, reason=reason)
            if paused
            else resume_intake(ledger.directory)
        )
        if changed:
            state = "paused" if paused else "open"
            transaction.record_move("intake", "intake", state, actor=actor, reason=reason)
    return changed


def issue_token(ledger: Ledger, *, name: str, scopes: Collection[Scope], actor: str) -> str:
    """Keep a new API token and return its text, which is never shown again."""
    with ledger.transaction() as transaction:
        text = create_token(ledger.directory, name=name, scopes=scopes)
        told = "scopes: " + ", ".join(scope for scope in Scope if scope in scopes)
        transaction.record_move("token", name, "created", actor=actor, reason=told)
    return text


def end_token(ledger: Ledger, token_id: str, *, actor: str) -> AccessToken:
    """End an API token for ever and return it; BadInput if no valid token has this id."""
    with ledger.transaction() as transaction:
        token = revoke_token(ledger.directory, token_id)
        transaction.record_move("token", token.name, "revoked", actor=actor)
    return token
