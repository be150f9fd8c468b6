"""Which page of a list is wanted, and in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batching.errors import BadInput
from storage.ledger import Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class PageChoice:
    """A page of a list: the order is one of the names that the list knows."""

    sort: str | None = None
    """None: the list's own first order."""
    descending: bool = True
    limit: int = 25
    offset: int = 0


def counted_page(
    reader: Transaction,
    source: str,
    *parameters: object,
    tabs: Mapping[str, str],
    tab: str,
    order: str,
    choice: PageChoice,
) -> dict[str, Any]:
    """Return `rows` of one page of a tab, its `count`, and the count of every tab as `tabs`.

    The source is read once: it is a query with parameters `$1` and so on.
    """
    if tab not in tabs:
        raise BadInput(f"there is no tab {tab!r}; known are {', '.join(tabs)}")
    place = len(parameters)
    counts = ", ".join(f'count(*) FILTER (WHERE {test}) AS "{name}"' for name, test in tabs.items())
    found = reader.rows(
        f"""
        WITH listed AS MATERIALIZED ({source}),
        counted AS (SELECT {{{_struct(tabs)}}} AS tab_counts FROM (SELECT {counts} FROM listed)),
        page AS (SELECT *, true AS on_page FROM listed WHERE {tabs[tab]}
            ORDER BY {order} LIMIT ${place + 1} OFFSET ${place + 2})
        SELECT page.*, tab_counts FROM counted LEFT JOIN page ON true ORDER BY {order}
        """,
        *parameters, choice.limit, choice.offset,
    )  # fmt: skip
    counted = found[0]["tab_counts"]
    rows = [row for row in found if row.pop("on_page")]
    for row in rows:
        del row["tab_counts"]
    return {"rows": rows, "count": counted[tab], "tabs": counted}


def _struct(tabs: Mapping[str, str]) -> str:
    return ", ".join(f"'{name}': \"{name}\"" for name in tabs)


def order_by(sorts: Mapping[str, str], choice: PageChoice, *, then: str) -> str:
    """Return the ORDER BY of a choice; BadInput if the list cannot be sorted so."""
    name = choice.sort or next(iter(sorts))
    if name not in sorts:
        raise BadInput(f"cannot be sorted by {name!r}; known are {', '.join(sorts)}")
    direction = "DESC" if choice.descending else "ASC"
    return f"{sorts[name]} {direction} NULLS LAST, {then} {direction}"
