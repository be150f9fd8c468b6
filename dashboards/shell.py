"""The frame of every page, and one visitor's session in it."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import panel as pn
import panel_material_ui as pmui
import param
from panel.io.callbacks import PeriodicCallback
from panel.util.parameters import edit_readonly
from panel.viewable import Viewable

from dashboards.actions import intake
from dashboards.components.board import Board, Event
from dashboards.components.notices import skeleton, trouble
from dashboards.components.overlay import Overlay
from dashboards.components.router import Router
from dashboards.desk import Desk
from dashboards.markup import Html, html
from dashboards.menu import BAR_LAYOUT, MENU_LAYOUT, bar_tiles, frame_tiles, menu_html
from dashboards.page import Look, Page
from dashboards.pages.registry import page_of
from dashboards.places import HOME, Place
from dashboards.site import Site
from dashboards.theme import FRAME_STYLE, THEME_CONFIG, stylesheet
from dashboards.visitor import Visitor, current_visitor
from storage.ledger import Transaction

logger = logging.getLogger(__name__)

PRODUCT: Final = "OpenAI Batch Manager"
_TICK_MILLISECONDS: Final = 1000
_PHONE: Final = ("Mobi", "Android", "iPhone")
_REST: Final = 5
"""Between two readings passes so many times what one takes: a slow page does not wear us out."""


def build(site: Site) -> Viewable:
    """Return a page for the visitor who asks."""
    session = Session(site, current_visitor(), _asked_place(), narrow=_is_phone(pn.state.headers))
    pn.state.onload(session.start)
    return session.frame()


def _is_phone(headers: Mapping[str, Any]) -> bool:
    agent = next((text for name, text in headers.items() if name.lower() == "user-agent"), "")
    return any(word in agent for word in _PHONE)


def _asked_place() -> Place:
    parts = {name: str(part) for name, part in (pn.state.route_params or {}).items()}
    query = {
        name: values[0].decode(errors="replace")
        for name, values in (pn.state.session_args or {}).items()
        if not name.startswith("bokeh-")
    }
    return Place(page=parts.get("page", HOME), id=parts.get("id"), query=query)


class Session:
    """What one open tab shows, and what happens in it."""

    def __init__(self, site: Site, visitor: Visitor, place: Place, *, narrow: bool = False) -> None:
        self.site = site
        self.visitor = visitor
        self.place = place
        self.router = Router(path=place.address, narrow=narrow)
        self.overlay = Overlay()
        self.bar = Board(
            layout=str(BAR_LAYOUT), tiles=bar_tiles(visitor), sizing_mode="stretch_width"
        )
        self.menu = Board(layout=str(MENU_LAYOUT), sizing_mode="stretch_width")
        self.banner = Board(layout='<div data-tile="banner"></div>', sizing_mode="stretch_width")
        self.board = Board(sizing_mode="stretch_width")
        self.extras = pn.Column(_nothing(), sizing_mode="stretch_width", margin=0)
        self.desk = Desk(
            site=site, visitor=visitor, overlay=self.overlay, where=lambda: self.place,
            go=self.go, refresh=self.refresh,
        )  # fmt: skip
        self._page: Page | None = None
        self._version = -1
        self._due = 0.0
        self._dead_letters = 0
        self._page_frame: Any = None  # Panel's types do not know its own pages
        self._enter(place)
        self._watch()

    def frame(self) -> Viewable:
        """Return the frame with everything in it."""
        frame: Viewable = pmui.Page(  # type: ignore[attr-defined]  # it is found at run time
            title="", meta_title=PRODUCT, busy_indicator=None, theme_toggle=False,
            theme_config=dict(THEME_CONFIG), sx=dict(FRAME_STYLE), raw_css=[stylesheet()],
            sidebar_width=220, sidebar_resizable=False, sidebar_open=not self.router.narrow,
            header=[self.bar], sidebar=[self.menu],
            main=[self.router, self.overlay, self.banner, self.board, self.extras],
        )  # fmt: skip
        with edit_readonly(frame):
            frame.busy = _AtRest().param.busy  # type: ignore[attr-defined, no-untyped-call]  # see there
        self._page_frame = frame
        return frame

    async def start(self) -> None:
        """Show the first data and follow what happens from now on."""
        # In the background: to call itself busy costs Panel more than most ticks.
        ticking = PeriodicCallback(  # type: ignore[no-untyped-call]  # Panel has no types
            callback=self._tick, period=_TICK_MILLISECONDS, background=True
        )
        ticking.start()  # type: ignore[no-untyped-call]  # as above
        await self.refresh()

    async def go(self, address: str) -> None:
        """Show another place."""
        self.router.path = address
        await self.show(Place.of(address))

    async def show(self, place: Place) -> None:
        """Show a place that the address bar shows already."""
        self._enter(place)
        await self.refresh()

    async def refresh(self) -> None:
        """Read the page and what the frame shows of the ledger; show what has changed."""
        place, page = self.place, self._page
        if page is None:
            return
        began = time.monotonic()
        try:
            await self._refresh(place, page)
        except Exception as error:
            logger.exception("a page of the dashboard cannot be read")
            waiting = [name for name in page.tiles if self.board.shown(name) == skeleton()]
            self.board.fill(dict.fromkeys(waiting, trouble("This", error)))
        self._due = time.monotonic() + _REST * (time.monotonic() - began)

    async def _refresh(self, place: Place, page: Page) -> None:
        version = await self.site.live.follow()
        place = self._with_remembered(place)
        key = (place.address, self.visitor.scopes)
        frame = await self.site.live.shared(
            ("frame", self.visitor.may_operate), lambda: self._read(place, _frame)
        )
        tiles = await self.site.live.shared(key, lambda: self._read(place, page_tiles(page)))
        if place == self._with_remembered(self.place):
            self._version = version
            self.board.fill(tiles)
            self._show_frame(frame)

    async def handle(self, event: Event) -> None:
        """Do what a button of the page, or of the frame, stands for."""
        page = self._page
        deed = page.deeds.get(event.action) if page else None
        try:
            if event.action == "retry":
                self.site.live.forget()
                await self.refresh()
            elif event.action == "resume-intake":
                await self.desk.perform(intake.resume())
            elif (
                page is not None
                and deed is not None
                and (event.action in page.harmless or await self.desk.may(page.scope))
            ):
                await deed(self.desk, event)
        except Exception as error:
            logger.exception("an action of the dashboard failed")
            self.desk.toast(f"That did not work: {error}", "error")

    def _with_remembered(self, place: Place) -> Place:
        """Return the place with as many rows a page as the visitor chose last."""
        if not self.router.rows or place.get("size"):
            return place
        return replace(place, query={**place.query, "size": str(self.router.rows)})

    def _enter(self, place: Place) -> None:
        """Lay the page out if it is another one; its tiles are skeletons until they are read."""
        page = page_of(place)
        is_same = page is self._page and place.id == self.place.id
        self.place = place
        self.router.title = f"{page.title.format(id=place.id or '')} · {PRODUCT}"
        if is_same:
            return
        self._page = page
        self.board.lay_out(page.layout, dict.fromkeys(page.tiles, skeleton()))
        self.extras.objects = page.extras(self.desk) if page.extras else [_nothing()]
        self._show_menu()
        if self._page_frame is not None and self.router.narrow:
            self._page_frame.sidebar_open = False

    def _watch(self) -> None:
        async def popped(_change: object) -> None:
            await self.show(Place.of(self.router.path))

        async def happened(change: Any) -> None:
            await self.handle(Event.of(change.new))

        async def seen(_change: object) -> None:
            if self.router.visible:
                await self._tick()

        def darkened(_change: object) -> None:
            if self._page_frame is not None:
                self._page_frame.dark_theme = self.router.dark

        async def resized(_change: object) -> None:
            await self.refresh()

        self.router.param.watch(popped, "pops")
        self.router.param.watch(resized, "rows")
        self.router.param.watch(seen, "visible")
        self.router.param.watch(darkened, "dark")
        for board in (self.board, self.banner):
            board.param.watch(happened, "event")

    async def _tick(self) -> None:
        """Follow the ledger as often as the visitor wants, and not at all where nobody looks."""
        if not self.router.visible:
            return
        for board in (self.bar, self.menu, self.banner, self.board):
            board.send_again()
        pace = self.router.pace
        now = time.monotonic()
        if not pace or now < self._due:
            return
        version = await self.site.live.follow()
        self._due = now + pace - 0.5
        self._beat()
        if version != self._version and self._page is not None and self._page.refreshes:
            await self.refresh()
            self._due = max(self._due, now + pace - 0.5)

    def _beat(self) -> None:
        live = self.site.live
        known = live.as_of.isoformat() if live.as_of else ""
        self.router.beat = {"as_of": known, "trouble": live.trouble or ""}

    def _show_frame(self, frame: Mapping[str, Any]) -> None:
        self._dead_letters = frame.get("dead_letters", self._dead_letters)
        self._show_menu()
        self.bar.fill({"health": frame.get("health", "")})
        self.banner.fill({"banner": frame.get("banner", "")})
        self._beat()

    def _show_menu(self) -> None:
        menu = self._page.menu if self._page else ""
        prefect = self.site.prefect_url
        self.menu.fill(
            {"menu": menu_html(menu, dead_letters=self._dead_letters, prefect_url=prefect)}
        )

    def _read(self, place: Place, read: Any) -> Any:
        def with_reader(reader: Transaction) -> Any:
            return read(
                Look(
                    reader=reader, place=place, visitor=self.visitor, site=self.site,
                    at=datetime.now(UTC),
                )
            )  # fmt: skip

        return self.site.live.reading(with_reader)


class _AtRest(param.Parameterized):
    """Says that nothing is busy, instead of Panel itself.

    Panel would tell every page of each tick of every other, which nobody is shown, and keep the
    pages for that after their end.
    """

    busy = param.Boolean(default=False)


def _nothing() -> Viewable:
    """Return what keeps Bokeh from warning of an empty column."""
    spacer: Viewable = pn.Spacer(height=0)  # type: ignore[no-untyped-call]  # Panel has no types
    return spacer


def page_tiles(page: Page) -> Any:
    """Return the function that makes all tiles of a page; one that fails does not hurt the rest."""

    def read(look: Look) -> dict[str, Html]:
        return {name: _tile(name, function, look) for name, function in page.tiles.items()}

    return read


def _tile(name: str, function: Any, look: Look) -> Html:
    try:
        return Html(function(look))
    except Exception as error:
        logger.exception("a tile of the dashboard failed", extra={"tile": name})
        return trouble(name.replace("_", " ").capitalize(), error)


def _frame(look: Look) -> dict[str, Any]:
    try:
        return frame_tiles(look)
    except Exception as error:
        logger.exception("the frame of the dashboard failed")
        return {"banner": html("{}", trouble("The state of the system", error))}
