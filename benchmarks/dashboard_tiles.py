"""How long the server takes for what pages show of the ledger: a process, since it loads Panel.

`python -m benchmarks.dashboard_tiles FOLDER` prints the median milliseconds of each address.
"""

import html
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from batching.access import ALL_SCOPES
from batching.settings import Settings
from dashboards.context import DashboardContext
from dashboards.page import Look
from dashboards.pages.registry import page_of
from dashboards.places import Place
from dashboards.shell import page_tiles
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.directory import DataDirectory
from storage.ledger import Transaction
from storage.snapshots import snapshot

TABLES = (
    "/ui/batches", "/ui/batches?tab=active", "/ui/batches?q=gpt-4o", "/ui/requests",
    "/ui/requests?state=failed", "/ui/requests?q=00777", "/ui/deliveries",
    "/ui/deliveries?outcome=exhausted", "/ui/jobs", "/ui/audit", "/ui/audit?q=collected",
)  # fmt: skip
"""Tables, their pages and filters."""
OTHERS = ("/ui", "/ui/batches/7", "/ui/requests/2-5", "/ui/jobs/job%203", "/ui/analytics")
_TIMES = 7
_FORWARD = re.compile(r'data-forward="([^"]+)"')
_VISITOR = Visitor(name="local", scopes=ALL_SCOPES)


def _median_milliseconds(site: Site, address: str) -> float:
    place = Place.of(address)
    forwarded = _FORWARD.search(" ".join(_tiles(site, place).values()))
    if forwarded:
        place = Place.of(html.unescape(forwarded[1]))
    return statistics.median(_milliseconds(lambda: _tiles(site, place)) for _ in range(_TIMES))


def _tiles(site: Site, place: Place) -> dict[str, str]:
    def read(reader: Transaction) -> dict[str, str]:
        look = Look(
            reader=reader, place=place, visitor=_VISITOR, site=site, at=datetime.now(UTC)
        )  # fmt: skip
        return dict(page_tiles(page_of(place))(look))

    return site.live.reading(read)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1_000


def _run(folder: Path) -> dict[str, dict[str, float]]:
    directory = DataDirectory(folder)
    site = Site.of(DashboardContext(settings=Settings(_env_file=None), directory=directory))
    with snapshot(directory, max_age_seconds=0.0):  # as long as somebody looks, one is open
        return {
            kind: {address: _median_milliseconds(site, address) for address in addresses}
            for kind, addresses in (("tables", TABLES), ("others", OTHERS))
        }


if __name__ == "__main__":
    print(json.dumps(_run(Path(sys.argv[1]))))
