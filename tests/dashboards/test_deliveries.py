"""The deliveries page in a browser: filters, deeds and their effect in the ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from delivery_ledger import CRM, SHOP, last_move, state_of, store_with_deliveries
from playwright.sync_api import Locator, Page, expect

from batching.access import Scope
from storage.access_tokens import create_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from factories import Store
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with_deliveries(tmp_path / "data")


@pytest.fixture
def web(store: Store, start_dashboard: Callable[[], Web]) -> Web:
    del store
    return start_dashboard()


def row(page: Page, identity: object) -> Locator:
    return page.locator(f'tr[data-id="{identity}"]')


def group(page: Page, cause: str) -> Locator:
    return page.locator(".letters > li").filter(has_text=cause)


def test_destinations_are_paused_resumed_and_enabled(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/deliveries")
    row(page, CRM).get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause delivery").click()
    expect(row(page, CRM)).to_contain_text("Paused")
    paused = "SELECT count(*) FROM targets WHERE paused_at IS NOT NULL"
    assert store.value(paused) == 1
    assert last_move(store) == (CRM, "paused", "dashboard:local")
    row(page, CRM).get_by_role("button", name="Resume").click()
    expect(row(page, CRM)).not_to_contain_text("Paused")
    assert store.value(paused) == 0
    row(page, SHOP).get_by_role("button", name="Enable").click()
    expect(row(page, SHOP)).not_to_contain_text("Disabled")
    assert not store.value("SELECT count(*) FROM destinations WHERE disabled_at IS NOT NULL")
    page.get_by_role("button", name="Pause all delivery").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    assert store.value(paused) == 0
    page.get_by_role("button", name="Pause all delivery").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause delivery").click()
    expect(page.get_by_role("button", name="Resume all")).to_be_visible()
    assert store.value(paused) == 2
    page.get_by_role("button", name="Resume all").click()
    expect(page.get_by_role("button", name="Resume all")).to_have_count(0)
    assert store.value(paused) == 0


def test_dead_letters_go_again_one_by_one_by_group_and_since_a_time(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/deliveries")
    group(page, "Timeout").get_by_role("link", name=re.compile("^Single")).click()
    expect(page).to_have_url(re.compile("open="))
    row(page, 3).get_by_role("button", name="Redeliver").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("What has been delivered is not sent twice")
    dialog.get_by_role("button", name="Redeliver").click()
    expect(row(page, 3)).to_have_count(0)
    assert [state_of(store, number) for number in (3, 4)] == ["pending", "exhausted"]
    group(page, "No connection").get_by_role("button", name="Redeliver").click()
    dialog.get_by_role("button", name="Redeliver").click()
    expect(group(page, "No connection")).to_have_count(0)
    assert [state_of(store, number) for number in (4, 5)] == ["exhausted", "pending"]
    page.get_by_role("button", name="Redeliver since…").click()
    dialog.get_by_label("Since (UTC)").fill("2999-01-01T00:00")
    dialog.get_by_role("button", name="Redeliver").click()
    expect(page.get_by_text("Nothing to redeliver")).to_be_visible()
    assert state_of(store, 4) == "exhausted"
    page.get_by_role("button", name="Redeliver since…").click()
    dialog.get_by_label("Since (UTC)").fill("2020-01-01T00:00")
    dialog.get_by_role("button", name="Redeliver").click()
    expect(page.get_by_text("Nothing was given up")).to_be_visible()
    assert [state_of(store, number) for number in (1, 4, 6, 7, 8)] == [
        "delivered", "pending", "cancelled", "delivered", "pending"
    ]  # fmt: skip


def test_dead_letters_are_discarded_only_when_their_count_is_typed(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/deliveries")
    group(page, "Timeout").get_by_role("button", name="Discard").click()
    dialog = page.get_by_role("dialog", name="Discard 2 results?")
    dialog.get_by_role("textbox").fill("3")
    dialog.get_by_role("button", name="Discard 2 results").click()
    expect(dialog).to_be_visible()
    assert state_of(store, 3) == "exhausted"
    dialog.get_by_role("textbox").fill("2")
    dialog.get_by_role("button", name="Discard 2 results").click()
    expect(page.get_by_text("2 results discarded; left alone: 1 was given up.")).to_be_visible()
    assert [state_of(store, number) for number in (3, 4, 5)] == [
        "cancelled", "cancelled", "exhausted"
    ]  # fmt: skip
    page.get_by_role("link", name=re.compile("^Dead letters")).first.click()
    expect(page).to_have_url(re.compile(r"\?outcome=exhausted$"))
    page.get_by_role("checkbox", name="Select 5").check()
    page.locator("[data-bulk]").get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Discard 1 result").click()
    expect(row(page, 5)).to_have_count(0)
    assert [state_of(store, number) for number in (5, 8)] == ["cancelled", "exhausted"]


def test_lists_are_filtered_by_the_address_and_lead_to_requests(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/deliveries?outcome=pending")
    row(page, 2).wait_for()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=re.compile("^All attempts")).click()
    expect(page.locator("tbody tr")).to_have_count(7)
    page.locator("select[name=cause]").select_option("failed")
    expect(page.locator("tbody tr")).to_have_count(5)
    page.locator("select[name=dest]").select_option(SHOP)
    expect(page.locator("tbody tr")).to_have_count(1)
    wire_id = f"{store.ledger.installation()}-2-1"
    expect(page.get_by_role("link", name="shop-1")).to_have_attribute(
        "href", f"/ui/requests/{wire_id}"
    )
    page.get_by_role("link", name="shop-1").click()
    expect(page).to_have_url(re.compile(f"/ui/requests/{wire_id}$"))
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_viewer_sees_no_buttons_and_an_operator_who_is_none_any_more_loses_them(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    looking = create_token(store.directory, name="looking", scopes=[Scope.READ])
    acting = create_token(store.directory, name="acting", scopes=[Scope.READ, Scope.OPERATE])
    web = start_dashboard()
    seen = visit(web, looking).page(f"{web.url}/ui/deliveries")
    row(seen, CRM).wait_for()
    for name in ("Pause", "Redeliver", "Discard", "Enable", "Redeliver since…"):
        expect(seen.get_by_role("button", name=name)).to_have_count(0)
    page = visit(web, acting).page(f"{web.url}/ui/deliveries")
    redeliver = group(page, "Timeout").get_by_role("button", name="Redeliver")
    redeliver.wait_for()
    tokens = store.directory.tokens.read_text().replace('"operate"', '"submit"')
    store.directory.tokens.write_text(tokens)
    expect(redeliver).to_have_count(0, timeout=20_000)
    group(page, "Timeout").wait_for()
    assert state_of(store, 3) == "exhausted"


@pytest.mark.parametrize("query", ["", "?outcome=exhausted", "?outcome=attempts"])
def test_nothing_serious_is_in_the_way_of_anybody_and_phones_do_not_scroll_sideways(
    visit: BeginVisit, web: Web, query: str
) -> None:
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
        page = visit(web, **options).page(f"{web.url}/ui/deliveries{query}")
        page.locator("tbody tr").first.wait_for()
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        assert not grave, grave
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
