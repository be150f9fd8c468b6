"""How an operator's deed is carried out: his rights are looked at again, and never on the loop."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from batching.access import LOCAL, Scope
from batching.errors import BadInput, ConfigurationError
from dashboards.site import Site
from dashboards.theme import Tone
from dashboards.visitor import Visitor
from storage.access_tokens import read_tokens
from storage.directory import DataDirectory
from storage.ledger import Ledger

logger = logging.getLogger(__name__)
_LONGEST_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a deed went, in words for the one who did it."""

    text: str
    tone: Tone = "success"


Deed = Callable[[Ledger, str], Outcome]
"""Calls a verb of `storage` with the name for the audit trail; runs in a thread."""


async def perform(
    deed: Deed, *, site: Site, visitor: Visitor, scope: Scope = Scope.OPERATE
) -> Outcome:
    """Carry out a deed if the visitor still may; whatever happens, there is an outcome."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await asyncio.to_thread(_perform, deed, site, visitor, scope)
    except TimeoutError:
        return Outcome(
            text="It takes longer than a minute: the ledger is busy. Look again in a moment.",
            tone="warning",
        )


def may_still(directory: DataDirectory, visitor: Visitor, scope: Scope) -> bool:
    """Return whether the visitor has the scope now, not only when his page was loaded."""
    if scope not in visitor.scopes:
        return False
    valid = [token for token in read_tokens(directory) if token.revoked_at is None]
    if not valid:
        return visitor.name == LOCAL.name
    return any(token.name == visitor.name and scope in token.scopes for token in valid)


def refusal(scope: Scope) -> Outcome:
    """Return what to say to somebody who has not the scope."""
    return Outcome(text=f"Not done: this needs a token with the scope `{scope}`.", tone="error")


def _perform(deed: Deed, site: Site, visitor: Visitor, scope: Scope) -> Outcome:
    try:
        if not may_still(site.directory, visitor, scope):
            return refusal(scope)
        return deed(site.ledger(), visitor.actor)
    except (BadInput, ConfigurationError) as error:
        return Outcome(text=f"Not done: {error}", tone="error")
    except Exception:
        logger.exception("an operator's action failed")
        return Outcome(text="Not done: something went wrong, the log says what.", tone="error")
