"""Where in the dashboard somebody is: `/ui/<page>/<id>?<filters>`, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

ROOT: Final = "/ui"
HOME: Final = "overview"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A page, the thing that it shows, and its filters: all of it is in the address."""

    page: str = HOME
    id: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, address: str) -> Self:
        """Return the place of a path with its query string."""
        parts = urlsplit(address)
        names = [unquote(name) for name in parts.path.removeprefix(ROOT).split("/") if name]
        query = dict(parse_qsl(parts.query))
        if not names:
            return cls(query=query)
        return cls(page=names[0], id="/".join(names[1:]) or None, query=query)

    @property
    def address(self) -> str:
        """The path with its query string."""
        query = urlencode({name: value for name, value in self.query.items() if value != ""})
        return f"{self.path}?{query}" if query else self.path

    @property
    def path(self) -> str:
        """The path alone."""
        if self.id is not None:
            return f"{ROOT}/{quote(self.page)}/{quote(self.id)}"
        return ROOT if self.page == HOME else f"{ROOT}/{quote(self.page)}"

    def get(self, name: str, default: str = "") -> str:
        """Return a filter of the query string."""
        return self.query.get(name, default)

    def number(self, name: str, default: int, *, least: int = 1, most: int = 10**9) -> int:
        """Return a number of the query string; the default for what is none or out of bounds."""
        text = self.query.get(name, "")
        return (
            int(text)
            if text.isascii() and text.isdigit() and least <= int(text) <= most
            else (default)
        )

    def having(self, **changes: str | int | None) -> "Place":
        """Return the place with other filters; None takes one away.

        What changes the filter goes back to the first page, unless a page is given.
        """
        query = {name: value for name, value in self.query.items() if name != "page"}
        for name, value in changes.items():
            query.pop(name, None)
            if value is not None:
                query[name] = str(value)
        return Place(page=self.page, id=self.id, query=query)

    def link(self, **changes: str | int | None) -> str:
        """Return the address of the place with other filters."""
        return self.having(**changes).address


def link(page: str = HOME, id: object = None, /, **query: object) -> str:  # noqa: A002 - what it is called in addresses
    """Return the address of a page, of one thing on it, or of a filtered list."""
    filters = {name: str(value) for name, value in query.items() if value is not None}
    return Place(page=page, id=None if id is None else str(id), query=filters).address
