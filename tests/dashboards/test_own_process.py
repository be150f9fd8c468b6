"""A browser that comes to the API's address, and a dashboard that outlives the API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_visits import BeginVisit, fill
from factories import Store
from playwright.sync_api import expect
from web_process import StartWeb, Web, end, start

from storage.health import HealthFile


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Web]:
    """An API beside which a dashboard can be started."""
    fill(tmp_path / "data")
    web = start(tmp_path / "data")
    yield web
    end(web)


def test_the_apis_address_leads_to_pages_that_stay_when_the_api_ends(
    api: Web, start_dashboard: StartWeb, visit: BeginVisit
) -> None:
    HealthFile(api.directory.health, "pipeline").report("running")
    dashboard = start_dashboard()
    page = visit(dashboard).page(f"{api.url}/ui/batches?tab=active")
    expect(page).to_have_url(f"{dashboard.url}/ui/batches?tab=active")
    page.locator('tr[data-id="2"]').wait_for()
    chips = page.get_by_text("REST API")
    expect(chips.first).to_have_text("REST API")
    assert api.stop() == 0
    Store.at(api.directory.root).run("INSERT INTO meta VALUES ('seen', 'at once')")
    expect(page.get_by_text("REST API: stopped").first).to_be_visible()
    page.get_by_role("link", name="Requests").first.click()
    expect(page).to_have_url(f"{dashboard.url}/ui/requests")
    page.locator("tr[data-id]").first.wait_for()
