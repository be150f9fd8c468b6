"""What an open page costs the others, and what is left of it when it has gone."""

import gc
import weakref
from pathlib import Path

import panel as pn
import pytest
from factories import Store

from batching.access import ALL_SCOPES
from batching.settings import Settings
from dashboards.context import DashboardContext
from dashboards.places import Place
from dashboards.shell import Session
from dashboards.site import Site
from dashboards.visitor import Visitor

VISITOR = Visitor(name="local", scopes=ALL_SCOPES)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    store = Store.at(tmp_path)
    return Site.of(DashboardContext(settings=Settings(), directory=store.directory))


@pytest.mark.parametrize("address", ["/ui", "/ui/batches", "/ui/requests", "/ui/jobs"])
def test_nothing_keeps_a_page_that_has_gone(site: Site, address: str) -> None:
    session = Session(site, VISITOR, Place.of(address))
    kept = weakref.WeakSet([session, session.frame()])
    assert len(kept) == 2
    del session
    gc.collect()
    assert not kept


def test_a_page_does_not_compute_because_another_one_does(site: Site) -> None:
    before = _who_hears_of_work()
    session = Session(site, VISITOR, Place.of("/ui"))
    session.frame()
    assert _who_hears_of_work() == before


def _who_hears_of_work() -> int:
    watchers = pn.state.param.watchers.get("busy", {})
    return sum(len(those) for those in watchers.values())
