"""Every page as people see it: light and dark, on a desk and on a phone.

The pictures lie in `build/screenshots/` afterwards, to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from factories import Store, chat_lines
from playwright.sync_api import Page, expect
from shown_ledger import fill_for_show
from web_process import Web, end, start

from dashboards.pages.registry import DETAILS, LISTS
from dashboards.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboard_visits import BeginVisit

PICTURES: Final = Path(__file__).parents[2] / "build" / "screenshots"
SHOWN: Final = {
    "overview": "/ui",
    "batches": "/ui/batches",
    "batch": "/ui/batches/17",
    "batch-expired": "/ui/batches/18",
    "requests": "/ui/requests",
    "request": "/ui/requests/{request}",
    "deliveries": "/ui/deliveries",
    "jobs": "/ui/jobs",
    "job": "/ui/jobs/crm-1",
    "analytics": "/ui/analytics",
    "settings": "/ui/settings",
    "audit": "/ui/audit",
    "upload": "/ui/upload",
    "held-file": "/ui/upload/{held}",
    "nowhere": "/ui/nowhere",
}
_PHONE: Final = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile",
}
_DEVICES: Final[dict[str, dict[str, Any]]] = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": _PHONE,
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A dashboard over two weeks of work."""
    store = fill_for_show(Store.at(tmp_path_factory.mktemp("shown") / "data"))
    web = start(store.directory.root, "--only", "dashboard")
    try:
        yield web
        assert "Traceback" not in web.log.read_text(), web.log.read_text()
    finally:
        end(web)


def test_every_page_that_there_is_is_shown_here() -> None:
    places = [Place.of(address) for address in SHOWN.values()]
    assert set(LISTS) - {"find"} <= {place.page for place in places if place.id is None}
    assert set(DETAILS) <= {place.page for place in places if place.id is not None}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("device", _DEVICES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_whole_readable_and_for_everybody(
    visit: BeginVisit, shown: Web, scheme: str, device: str
) -> None:
    page = visit(shown, color_scheme=scheme, **_DEVICES[device]).page(f"{shown.url}/ui")
    dead_letter, held = _a_dead_letter(shown), _a_held_file(shown)
    faults = {}
    for name, address in SHOWN.items():
        page.goto(shown.url + address.format(request=dead_letter, held=held))
        found = _looked_at(page, PICTURES / f"{name}-{scheme}-{device}.png")
        if found:
            faults[name] = found
    assert not faults, "\n".join(f"{name}: {found}" for name, found in faults.items())


def _a_dead_letter(web: Web) -> str:
    """Return the id of a request whose result could not be delivered."""
    wanted = web.client.get("/api/requests", params={"delivery_state": "exhausted", "limit": 1})
    return str(wanted.json()["items"][0]["id"])


def _a_held_file(web: Web) -> str:
    """Send a file that waits until somebody has seen what it would cost."""
    lines = b"".join(line + b"\n" for line in [*chat_lines(40, model="gpt-4o-mini"), b"{}"])
    options = {"name": "tickets-of-today.jsonl", "hold": "true"}
    return str(web.client.post("/api/files", params=options, content=lines).json()["held"])


def _looked_at(page: Page, picture: Path) -> list[str]:
    """Take a picture of the page once it is complete; return what is wrong with it."""
    page.locator("[data-tile]").first.wait_for(state="attached")
    expect(page.locator(".skeleton")).to_have_count(0)
    expect(page.locator("h1")).to_have_count(1)
    picture.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=picture)
    faults = ["a part could not be read"] if page.get_by_text("cannot be shown").count() else []
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        faults.append("it scrolls sideways")
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    return faults + [
        f"{one['id']}: {[node['target'] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
