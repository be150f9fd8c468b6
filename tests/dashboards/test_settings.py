"""The settings page in a browser: every switch, limits, tokens, and their effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from delivery_ledger import CRM, last_move, store_with_deliveries
from playwright.sync_api import Locator, Page, expect

from batching.access import Scope, find_identity
from storage.access_tokens import create_token, read_tokens
from storage.intake_gate import read_pause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from factories import Store
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}
EVERY = [Scope.READ, Scope.SUBMIT, Scope.OPERATE]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_with_deliveries(tmp_path / "data")
    store.run("UPDATE lanes SET learned_limit = 90000, learned_at = now()::TIMESTAMP")
    return store


def switch(page: Page, identity: str) -> Locator:
    return page.locator(f'.switches li[data-id="{identity}"]')


def part(page: Page, title: str) -> Locator:
    return page.locator(".switches section").filter(has_text=title)


def confirm(page: Page, words: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=words).click()


def test_intake_submission_and_delivery_are_paused_and_resumed(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui/settings")
    switch(page, "intake").get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_label("Why").fill("the disk is full")
    confirm(page, "Pause intake")
    expect(switch(page, "intake")).to_contain_text("the disk is full")
    expect(page.get_by_text("Intake is paused by dashboard:local")).to_be_visible()
    pause = read_pause(store.directory)
    assert pause is not None
    assert pause.reason == "the disk is full"
    assert last_move(store) == ("intake", "paused", "dashboard:local")
    switch(page, "intake").get_by_role("button", name="Resume").click()
    expect(switch(page, "intake")).to_contain_text("Open")
    assert read_pause(store.directory) is None
    switch(page, "lane-1").get_by_role("button", name="Pause").click()
    confirm(page, "Pause submission")
    expect(switch(page, "lane-1")).to_contain_text("Paused")
    assert store.value("SELECT paused FROM lanes")
    part(page, "Submission").get_by_role("button", name="Resume all").click()
    expect(switch(page, "lane-1")).to_contain_text("Not paused")
    assert not store.value("SELECT paused FROM lanes")
    part(page, "Delivery").get_by_role("button", name="Pause all").click()
    confirm(page, "Pause delivery")
    expect(switch(page, CRM)).to_contain_text("Paused")
    assert store.value("SELECT count(*) FROM targets WHERE paused_at IS NOT NULL") == 2
    switch(page, CRM).get_by_role("button", name="Resume").click()
    expect(switch(page, CRM)).to_contain_text("Not paused")
    assert store.value("SELECT count(*) FROM targets WHERE paused_at IS NOT NULL") == 1


def test_a_learned_limit_is_forgotten(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui/settings")
    page.get_by_role("link", name="Token limits").click()
    row = page.locator('tr[data-id="1"]')
    expect(row).to_contain_text("90,000")
    row.get_by_role("button", name="Forget learned").click()
    confirm(page, "Forget it")
    expect(row.get_by_role("button")).to_have_count(0)
    assert store.value("SELECT learned_limit FROM lanes") is None
    assert last_move(store) == ("1", "limit_forgotten", "dashboard:local")


def test_a_token_is_made_shown_once_and_revoked(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    boss = create_token(store.directory, name="boss", scopes=EVERY)
    web = start_dashboard()
    page = visit(web, boss).page(f"{web.url}/ui/settings?tab=access")
    page.get_by_label("Name").fill("nightly job")
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_text("at least one scope")).to_be_visible()
    page.get_by_label("Name").fill("nightly job")
    page.get_by_role("checkbox", name="submit").check()
    page.get_by_role("button", name="Create token").click()
    dialog = page.get_by_role("dialog", name="The token nightly job")
    text = dialog.locator("pre").text_content() or ""
    identity = find_identity(text, read_tokens(store.directory))
    assert identity is not None
    assert (identity.name, identity.scopes) == ("nightly job", {Scope.SUBMIT})
    assert last_move(store) == ("nightly job", "created", "dashboard:boss")
    dialog.get_by_role("button", name="I have kept it").click()
    assert text.split("_", 2)[2] not in page.content()
    row = page.locator("tr").filter(has_text="nightly job")
    row.get_by_role("button", name="Revoke").click()
    confirm(page, "Revoke token")
    expect(row).to_contain_text("Revoked")
    assert find_identity(text, read_tokens(store.directory)) is None
    assert last_move(store) == ("nightly job", "revoked", "dashboard:boss")


def test_a_viewer_sees_everything_and_changes_nothing(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    looking = create_token(store.directory, name="looking", scopes=[Scope.READ])
    web = start_dashboard()
    page = visit(web, looking).page(f"{web.url}/ui/settings")
    switch(page, "lane-1").wait_for()
    expect(page.locator(".switches").get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="API tokens").click()
    page.get_by_role("cell", name="looking").wait_for()
    expect(page.get_by_role("button", name="Create token")).to_have_count(0)
    expect(page.get_by_role("button", name="Revoke")).to_have_count(0)
    page.get_by_role("link", name="Configuration").click()
    page.get_by_role("searchbox", name="Search settings").fill("polls")
    page.get_by_role("searchbox", name="Search settings").press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)


@pytest.mark.parametrize("tab", ["running", "limits", "prices", "access", "configuration"])
def test_nothing_serious_is_in_the_way_of_anybody_and_phones_do_not_scroll_sideways(
    visit: BeginVisit, open_web: Web, tab: str
) -> None:
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}):
        page = visit(open_web, **options).page(f"{open_web.url}/ui/settings?tab={tab}")
        page.locator(".card:not(:has(.skeleton))").first.wait_for()
        found = Axe().run(page).response["violations"]
        grave = [one for one in found if one["impact"] in {"serious", "critical"}]
        assert not grave, grave
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
