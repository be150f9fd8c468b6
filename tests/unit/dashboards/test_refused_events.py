"""Events that a visitor's browser was made to send although he has no such button."""

import asyncio

import pytest
from factories import Store, chat_lines

from batching.access import ALL_SCOPES, Scope
from batching.settings import Settings
from dashboards.components.board import Event
from dashboards.context import DashboardContext
from dashboards.page import Page
from dashboards.pages.registry import DETAILS, LISTS
from dashboards.places import Place
from dashboards.shell import Session
from dashboards.site import Site
from dashboards.visitor import Visitor

PAGES = [(Place(page=name), page) for name, page in LISTS.items()] + [
    (Place(page=name, id="1"), page) for name, page in DETAILS.items()
]
ACTING = [pytest.param(place, page, id=place.address) for place, page in PAGES if page.deeds]


def session_of(store: Store, place: Place, *scopes: Scope) -> Session:
    site = Site.of(DashboardContext(settings=Settings(_env_file=None), directory=store.directory))
    visitor = Visitor(name="local", scopes=frozenset(scopes))
    return Session(site, visitor, place)


@pytest.mark.parametrize(("place", "page"), ACTING)
def test_a_viewer_is_refused_before_he_is_asked_or_shown_anything(
    store: Store, place: Place, page: Page
) -> None:
    session = session_of(store, place, Scope.READ)
    for act in set(page.deeds) - set(page.harmless):
        session.overlay.toast = {}
        asyncio.run(session.handle(Event(action=act, id="1", selected=("1",))))
        assert session.overlay.dialog == {}, act
        assert f"`{page.scope}`" in session.overlay.toast["text"], act


def test_what_changes_nothing_is_for_everybody_who_sees_the_page(store: Store) -> None:
    session = session_of(store, Place.of("/ui/settings"), Scope.READ)
    asyncio.run(session.handle(Event(action="look-again")))
    assert session.overlay.toast == {}


def test_who_may_operate_is_asked(store: Store) -> None:
    store.take_in(chat_lines(1))
    store.claim()
    session = session_of(store, Place.of("/ui/batches"), *ALL_SCOPES)

    async def press() -> None:
        asked = asyncio.Event()
        session.overlay.param.watch(lambda _change: asked.set(), "dialog")
        pressed = asyncio.create_task(session.handle(Event(action="cancel", id="1")))
        await asked.wait()
        assert "Cancel batch 1?" in session.overlay.dialog["html"]
        session.overlay.answer = {"number": 1, "given": False, "values": {}}
        await pressed

    asyncio.run(asyncio.wait_for(press(), 10))
