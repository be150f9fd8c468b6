"""Which page of a list is wanted, and in which order."""

from collections.abc import Mapping
from dataclasses import dataclass

from batching.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class PageChoice:
    """A page of a list: the order is one of the names that the list knows."""

    sort: str | None = None
    """None: the list's own first order."""
    descending: bool = True
    limit: int = 25
    offset: int = 0


def order_by(sorts: Mapping[str, str], choice: PageChoice, *, then: str) -> str:
    """Return the ORDER BY of a choice; BadInput if the list cannot be sorted so."""
    name = choice.sort or next(iter(sorts))
    if name not in sorts:
        raise BadInput(f"cannot be sorted by {name!r}; known are {', '.join(sorts)}")
    direction = "DESC" if choice.descending else "ASC"
    return f"{sorts[name]} {direction} NULLS LAST, {then} {direction}"
