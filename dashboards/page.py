"""What a page is: a layout with named tiles, a function for each tile, and what buttons do.

A page is data (`PAGE = Page(...)` in its module). Its tile functions take a `Look` and return
HTML; they run in a thread, read through `storage.reports` only, and must depend on nothing but
the look: visitors who look at the same place share one result. Its deeds are coroutines that run
on the event loop when a button with that `data-act` is pressed.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from panel.viewable import Viewable

from batching.access import Scope
from dashboards.components.board import Event
from dashboards.markup import Html
from dashboards.places import Place
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.ledger import Transaction

if TYPE_CHECKING:
    from dashboards.desk import Desk


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One look at the ledger: all tiles of a page see the same copy at the same moment."""

    reader: Transaction
    """A read-only copy of the ledger, for functions of `storage.reports`."""
    place: Place
    visitor: Visitor
    site: Site
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page of the dashboard."""

    menu: str
    """The entry of the menu that is marked while it is shown."""
    title: str
    """For the title of the document; `{id}` is replaced."""
    layout: Html
    """HTML in which elements with `data-tile="name"` are places for tiles."""
    tiles: Mapping[str, Callable[[Look], Html]]
    deeds: Mapping[str, Callable[["Desk", Event], Awaitable[None]]] = field(default_factory=dict)
    """What happens at a `data-act`; who has not the `scope` is not even asked."""
    scope: Scope = Scope.OPERATE
    harmless: Collection[str] = ()
    """Deeds that are for everybody who may see the page."""
    extras: Callable[["Desk"], list[Viewable]] | None = None
    """Components of its own below the board, made anew each time the page is entered."""
    refreshes: bool = True
    """Whether it follows changes of the ledger by itself."""
