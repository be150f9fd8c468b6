"""Who looks at the dashboard.

The web process has found out before a page is built, and says so in a header of its own, which
it takes away from whatever a browser sends. The header stands in the page's signed token.
"""

from dataclasses import dataclass
from typing import cast

import panel as pn

from batching.access import VISITOR_HEADER, Identity, Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Visitor:
    """Who has opened a page, and what he may do there."""

    name: str
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """How he is called in the audit trail."""
        return f"dashboard:{self.name}"

    @property
    def may_operate(self) -> bool:
        """Whether he may cancel, redeliver, change settings."""
        return Scope.OPERATE in self.scopes

    @property
    def may_submit(self) -> bool:
        """Whether he may bring requests in."""
        return Scope.SUBMIT in self.scopes


def current_visitor() -> Visitor:
    """Return who has opened the page whose session this is; works in callbacks as well."""
    identity = Identity.from_header(cast("str", pn.state.headers[VISITOR_HEADER]))
    return Visitor(name=identity.name, scopes=identity.scopes)
