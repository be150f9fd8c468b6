"""The analytics page in a browser: its choices are in the address, its charts have figures."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from factories import Store, chat_lines
from playwright.sync_api import expect

from dashboards.wording import UNKNOWN
from storage.ledger import now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One job with a price, one without."""
    store = Store.at(tmp_path / "data")
    store.take_in(chat_lines(5, prefix="a"), name="priced", source_id="s1")
    store.answer_all(store.ended())
    store.deliver()
    store.run("UPDATE batches SET cost_usd = 1.25")
    lines = chat_lines(3, prefix="b", model="nobody-knows-this")
    store.take_in(lines, name="unpriced", source_id="s2")
    store.answer_all(store.ended())
    store.run("UPDATE batches SET finished_at = ?::TIMESTAMP - to_hours(1)", now())
    return store


@pytest.fixture
def web(store: Store, start_dashboard: Callable[[], Web]) -> Web:
    del store
    return start_dashboard()


def test_the_chosen_time_model_and_job_are_in_the_address(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/analytics")
    usage = page.locator('[data-tile="totals"]')
    expect(usage).to_contain_text("8")
    expect(usage).to_contain_text("$1.25")
    expect(usage).to_contain_text("The price of 1 batch is not known")
    page.get_by_role("link", name="7 days").click()
    expect(page).to_have_url(re.compile(r"preset=7d"))
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "page")
    page.get_by_role("combobox", name="Model").select_option("nobody-knows-this")
    expect(page).to_have_url(re.compile(r"model=nobody-knows-this"))
    expect(page).to_have_url(re.compile(r"preset=7d"))
    expect(usage).not_to_contain_text("$")
    expect(page.get_by_text("No cost is known in this time.")).to_be_visible()
    page.get_by_role("link", name="Clear filters").click()
    page.get_by_role("combobox", name="Job").fill("priced")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(r"job=priced"))
    expect(usage).to_contain_text("$1.25")
    expect(usage).not_to_contain_text("not known")
    page.go_back()
    expect(usage).to_contain_text("not known")


def test_days_are_chosen_and_impossible_ones_are_told(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/analytics?from=2020-01-01&to=2020-01-31")
    usage = page.locator('[data-tile="totals"]')
    expect(usage).to_contain_text("0 batches")
    page.goto(f"{web.url}/ui/analytics?from=2026-05-01&to=2026-04-01")
    expect(page.get_by_text("Choose a first day that is not after the last one")).to_be_visible()
    expect(usage).to_contain_text("$1.25")


def test_charts_have_their_figures_as_a_table_and_as_csv(visit: BeginVisit, web: Web) -> None:
    page = visit(web, accept_downloads=True).page(f"{web.url}/ui/analytics?preset=24h")
    picture = page.get_by_role("img", name="Tokens over time")
    expect(picture.locator("canvas")).to_be_visible()
    page.locator("#table-tokens summary").click()
    expect(page.get_by_role("region", name="Tokens over time")).to_contain_text("80")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download flow as CSV").click()
    with downloading.value.path().open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["received"]) for row in rows) == 8


def test_usage_is_broken_down_by_job(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/analytics")
    page.get_by_role("link", name="By job").click()
    table = page.get_by_role("region", name="By job")
    expect(table.get_by_role("row", name=re.compile("unpriced"))).to_contain_text(UNKNOWN)
    table.get_by_role("link", name="priced", exact=True).click()
    expect(page).to_have_url(re.compile(r"/ui/jobs/priced$"))


def test_analytics_is_accessible_and_fits_a_phone(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/analytics")
    page.locator('[data-tile="estimates"] table').wait_for()
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
    grave = [one["id"] for one in found if one["impact"] in {"serious", "critical"}]
    assert not grave, grave
    phone = visit(web, **PHONE).page(f"{web.url}/ui/analytics")
    phone.locator('[data-tile="estimates"] table').wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
