"""Somebody who acts in a dashboard, and which of its deeds he has really set off."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from playwright.sync_api import expect

from dashboards.pages.registry import DETAILS, LISTS, page_of
from dashboards.places import Place
from dashboards.shell import PRODUCT

if TYPE_CHECKING:
    from dashboard_visits import Visit
    from playwright.sync_api import Locator, Page, WebSocket

FRAME_DEEDS: Final = frozenset({"frame: retry", "frame: resume-intake"})
"""What can be done on every page, whichever it is."""


def known_deeds() -> set[str]:
    """Return all deeds of all pages: `batches: cancel` of the list, `batches/*: cancel` of one."""
    lists = {f"{name}: {act}" for name, page in LISTS.items() for act in page.deeds}
    details = {f"{name}/*: {act}" for name, page in DETAILS.items() for act in page.deeds}
    return lists | details | FRAME_DEEDS


def deed_of(address: str, act: str) -> str:
    """Return which deed a button with this `data-act` sets off on the page of this address."""
    place = Place.of(address)
    if act not in page_of(place).deeds:
        return f"frame: {act}"
    return f"{place.page}/*: {act}" if place.id is not None else f"{place.page}: {act}"


@dataclass(kw_only=True)
class Walk:
    """One visitor in one tab; what his browser reports to the server is written down."""

    visit: Visit
    url: str
    done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page: Page = self.visit.context.new_page()
        self.page.on("websocket", self._listen)

    def open(self, path: str) -> Page:
        """Go to a page as a link in the dashboard does; load it if nothing is there yet."""
        if not self.page.url.startswith(self.url) or self.page.locator("dialog").count():
            self.page.goto(f"{self.url}{path}")
        else:
            self.page.evaluate(
                "path => document.dispatchEvent(new CustomEvent('obm:go', {detail: path}))", path
            )
        place = Place.of(path)
        title = page_of(place).title.format(id=place.id or "")
        expect(self.page).to_have_title(f"{title} · {PRODUCT}")
        return self.page

    @property
    def head(self) -> Locator:
        """The heading of a page of one object, with what can be done to it."""
        return self.page.locator(".page-head")

    def row(self, identity: object) -> Locator:
        """Return the row, or the head of the page, of an object."""
        return self.page.locator(f'[data-id="{identity}"]')

    def press(self, name: str, within: Locator | None = None) -> None:
        """Press a button."""
        (within or self.page.locator("body")).get_by_role("button", name=name, exact=True).click()

    def answer(self, verb: str, asked: str, **fields: str) -> None:
        """Fill in the dialog that asks this, and press its button."""
        dialog = self.page.get_by_role("dialog", name=asked)
        for label, text in fields.items():
            dialog.locator(f'[name="{label}"]').fill(text)
        dialog.get_by_role("button", name=verb, exact=True).click()

    def tick(self, *identities: object) -> Locator:
        """Tick rows; return the bar with what can be done to them."""
        for identity in identities:
            self.row(identity).get_by_role("checkbox").check()
        return self.page.locator("[data-bulk]")

    def hears(self, text: str) -> None:
        """Wait until the corner of the page says this; the same has to be said anew after that."""
        said = self.page.locator(".toast").filter(has_text=text).last
        expect(said).to_be_visible()
        said.evaluate("toast => toast.remove()")

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framesent", self._note)

    def _note(self, sent: str | bytes) -> None:
        """Write down the deed, if the message reports one."""
        if isinstance(sent, bytes) or '"attr":"event"' not in sent:
            return
        for change in json.loads(sent).get("events", []):
            if change.get("attr") == "event":
                act = dict(change["new"]["entries"])["action"]
                parts = urlsplit(self.page.url)
                self.done.add(deed_of(f"{parts.path}?{parts.query}", act))
