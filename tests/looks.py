"""Looking at a page of the dashboard without a browser."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

from batching.access import ALL_SCOPES, Scope
from batching.settings import Settings
from dashboards.context import DashboardContext
from dashboards.markup import Html
from dashboards.page import Look
from dashboards.pages.registry import page_of
from dashboards.places import Place
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.directory import DataDirectory
from storage.snapshots import snapshot


@dataclass
class Looker:
    """Somebody who opens pages of one data directory."""

    directory: DataDirectory
    settings: Settings = field(default_factory=lambda: Settings(_env_file=None))

    def tile(self, address: str, name: str, *, scopes: Iterable[Scope] = ALL_SCOPES) -> Html:
        """Return one tile of the page at this address, as it is now."""
        place = Place.of(address)
        with ExitStack() as stack:
            reader = stack.enter_context(snapshot(self.directory, max_age_seconds=0.0))
            look = Look(
                reader=reader,
                place=place,
                visitor=Visitor(name="tester", scopes=frozenset(scopes)),
                site=Site.of(DashboardContext(settings=self.settings, directory=self.directory)),
                at=datetime.now(UTC),
            )
            return page_of(place).tiles[name](look)
