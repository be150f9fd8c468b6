"""The batches page in a browser: filters, deeds and their effect in the ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from factories import Store, chat_lines
from playwright.sync_api import Locator, Page, expect

from batching.access import Scope
from batching.lifecycle import BatchState
from storage.access_tokens import create_token
from storage.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two batches under way, one collected, and something that gathers."""
    store = Store.at(tmp_path / "data")
    store.take_in(chat_lines(5, prefix="done"), name="finished", source_id="s1")
    store.answer_all(store.ended())
    for number in (2, 3):
        store.take_in(chat_lines(4, prefix=f"r{number}"), name=f"job{number}",
                      source_id=f"s{number}")  # fmt: skip
        store.bring_to(store.claim(), BatchState.SUBMITTED)
    store.take_in(chat_lines(2, prefix="new"), name="waiting", source_id="s9")
    return store


@pytest.fixture
def web(store: Store, start_dashboard: Callable[[], Web]) -> Web:
    del store
    return start_dashboard()


def row(page: Page, number: int) -> Locator:
    return page.locator(f'tr[data-id="{number}"]')


def wished(store: Store, number: int) -> bool:
    ledger = Ledger(store.directory)
    with ledger.transaction() as reader:
        return bool(reader.value("SELECT cancel_requested FROM batches WHERE batch_id = ?", number))


def test_a_cancelled_batch_says_so_at_once_and_in_the_ledger(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/batches")
    cancel = row(page, 2).get_by_role("button", name="Cancel")
    cancel.click()
    dialog = page.get_by_role("dialog", name="Cancel batch 2?")
    expect(dialog).to_contain_text("4 requests will not run")
    dialog.get_by_role("button", name="Keep it").click()
    expect(cancel).to_be_focused()
    assert not wished(store, 2)
    cancel.click()
    dialog.wait_for()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert not wished(store, 2)
    cancel.click()
    dialog.get_by_role("button", name="Cancel batch").click()
    expect(page.get_by_text("Cancel of batch 2 requested (4 requests).")).to_be_visible()
    expect(row(page, 2)).to_contain_text("Cancel requested")
    assert wished(store, 2)
    assert store.value(
        "SELECT actor FROM transitions WHERE entity = 'batch' AND target = 'cancel_requested'"
    ) == "dashboard:local"  # fmt: skip


def test_all_that_match_are_cancelled_together(visit: BeginVisit, web: Web, store: Store) -> None:
    page = visit(web).page(f"{web.url}/ui/batches?tab=active&size=10")
    row(page, 3).get_by_role("checkbox").check()
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.get_by_role("checkbox", name="All rows").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel 2 batches?")
    dialog.get_by_role("button", name="Cancel batches").click()
    expect(page.get_by_text("Cancel of 2 batches requested (8 requests).")).to_be_visible()
    assert wished(store, 2)
    assert wished(store, 3)


def test_what_gathers_is_sent_now(visit: BeginVisit, web: Web, store: Store) -> None:
    page = visit(web).page(f"{web.url}/ui/batches")
    page.get_by_role("button", name="Send now").click()
    expect(page.get_by_text("2 requests go with the next batch, at once.")).to_be_visible()
    expect(page.get_by_text("sent at the next look")).to_be_visible()
    assert store.value("SELECT flush_requested_at FROM jobs WHERE name = 'waiting'") is not None


def test_the_page_follows_the_ledger_and_keeps_the_focus(
    visit: BeginVisit, web: Web, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/batches")
    button = row(page, 2).get_by_role("button", name="Cancel")
    button.focus()
    store.claim()
    row(page, 4).wait_for()
    expect(button).to_be_focused()


def test_headings_sort_and_the_address_says_how(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/batches")
    row(page, 1).wait_for()
    heading = page.locator("th a", has_text="Requests")
    heading.click()
    expect(page).to_have_url(re.compile(r"sort=-requests"))
    expect(page.locator("tbody tr").first).to_have_attribute("data-id", "1")
    heading.click()
    expect(page).to_have_url(re.compile(r"sort=requests"))
    expect(page.locator("tbody tr").last).to_have_attribute("data-id", "1")


def test_the_number_of_rows_is_remembered(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    for number in range(9):
        store.take_in(chat_lines(1, prefix=f"m{number}"), name=f"m{number}", source_id=f"m{number}")
        store.claim()
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui/batches")
    expect(page.locator("tbody tr")).to_have_count(12)
    page.locator("select[name=size]").select_option("10")
    expect(page.locator("tbody tr")).to_have_count(10)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("Showing 11 to 12 of 12")).to_be_visible()
    page.goto(f"{web.url}/ui/batches")
    expect(page.locator("tbody tr")).to_have_count(10)


def test_nothing_matches_is_another_text_than_nothing_yet(visit: BeginVisit, web: Web) -> None:
    page = visit(web).page(f"{web.url}/ui/batches?q=nosuchmodel")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Clear filters").last.click()
    row(page, 1).wait_for()


def test_a_viewer_sees_no_buttons_and_a_revoked_operator_can_do_nothing(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    directory = store.directory
    looking = create_token(directory, name="looking", scopes=[Scope.READ])
    acting = create_token(directory, name="acting", scopes=[Scope.READ, Scope.OPERATE])
    web = start_dashboard()
    seen = visit(web, looking).page(f"{web.url}/ui/batches")
    row(seen, 2).wait_for()
    expect(seen.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(seen.get_by_role("checkbox")).to_have_count(0)
    expect(seen.get_by_role("button", name="Send now")).to_have_count(0)
    page = visit(web, acting).page(f"{web.url}/ui/batches")
    row(page, 2).get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for()
    tokens = directory.tokens.read_text().replace('"operate"', '"submit"')
    directory.tokens.write_text(tokens)
    page.get_by_role("dialog").get_by_role("button", name="Cancel batch").click()
    expect(page.get_by_text("this needs a token with the scope")).to_be_visible()
    assert not wished(store, 2)
