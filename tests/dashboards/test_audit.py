"""The audit page in a browser: filters in the address, links, people told apart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from delivery_ledger import CRM, store_with_deliveries
from playwright.sync_api import expect

from storage.holding import hold_targets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from factories import Store
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_with_deliveries(tmp_path / "data")
    hold_targets(store.ledger, [CRM], paused=True, actor="dashboard:anna")
    hold_targets(store.ledger, [CRM], paused=False, actor="cli:bert")
    return store


def test_what_somebody_did_is_found_and_followed(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui/audit")
    page.get_by_role("link", name=re.compile("^By people")).click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("select[name=actor]").select_option("dashboard:anna")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("actor=dashboard%3Aanna"))
    expect(page.locator("tbody tr")).to_contain_text("Paused")
    page.get_by_role("link", name=f"Target {CRM}").click()
    expect(page).to_have_url(re.compile("/ui/deliveries"))
    page.go_back()
    page.get_by_role("link", name="Clear filters").click()
    hold_targets(store.ledger, [CRM], paused=True, actor="api:carl")
    expect(page.locator("tbody tr").first).to_contain_text("carl")


def test_nothing_serious_is_in_the_way_of_anybody_and_phones_do_not_scroll_sideways(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    del store
    web = start_dashboard()
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
        page = visit(web, **options).page(f"{web.url}/ui/audit")
        page.locator("tbody tr").first.wait_for()
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        assert not grave, grave
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
