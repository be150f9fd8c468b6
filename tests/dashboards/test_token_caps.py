"""Token caps in a browser: set with a preview, in force in the ledger, and reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from delivery_ledger import last_move
from factories import Store, chat_lines
from playwright.sync_api import Page, expect

from batching.access import Scope
from storage.access_tokens import create_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.at(tmp_path / "data")
    store.take_in(chat_lines(3))
    return store


def confirm(page: Page, words: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=words).click()


def test_a_cap_is_set_with_a_preview_and_reset(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui/settings?tab=limits")
    page.get_by_role("link", name="Set a cap").click()
    expect(page.get_by_label("Model, or how")).to_have_value("gpt-4o-mini")
    field = page.get_by_label("Tokens at a time")
    preview = page.locator("output")
    for typed, said in (("0", "not a number above 0"), ("1.5m", "1,500,000 (1.5M)"),
                        ("2000000", "2,000,000 (2M)")):  # fmt: skip
        field.fill(typed)
        expect(preview).to_have_text(said)
    page.get_by_role("button", name="Set cap").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cap gpt-4o-mini at 2,000,000 tokens (2M)?")
    expect(dialog).to_contain_text("gpt-4o-mini")
    confirm(page, "Set cap")
    row = page.locator('tr[data-id="gpt-4o-mini"]')
    expect(row).to_contain_text("2,000,000")
    assert store.rows("SELECT model, tokens, set_by FROM token_caps") == [
        {"model": "gpt-4o-mini", "tokens": 2_000_000, "set_by": "dashboard:local"}
    ]
    assert last_move(store) == ("gpt-4o-mini", "set", "dashboard:local")
    row.get_by_role("button", name="Reset").click()
    confirm(page, "Reset cap")
    expect(row).to_have_count(0)
    assert store.rows("SELECT * FROM token_caps") == []
    assert last_move(store) == ("gpt-4o-mini", "reset", "dashboard:local")


def test_a_cap_below_a_single_request_says_that_it_would_fail_and_can_be_left(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui/settings?tab=limits")
    page.get_by_label("Model, or how").fill("gpt")
    page.get_by_label("Tokens at a time").fill("1")
    page.get_by_role("button", name="Set cap").click()
    expect(page.get_by_role("dialog")).to_contain_text("3 pending requests alone need more")
    confirm(page, "Leave it")
    page.get_by_label("Tokens at a time").fill("none")
    page.get_by_role("button", name="Set cap").click()
    expect(page.get_by_text("is no number of tokens")).to_be_visible()
    assert store.rows("SELECT * FROM token_caps") == []


def test_a_viewer_sees_caps_and_sets_none(
    visit: BeginVisit, store: Store, start_dashboard: Callable[[], Web]
) -> None:
    store.run("INSERT INTO token_caps VALUES ('gpt', 7, now()::TIMESTAMP, 'mia')")
    looking = create_token(store.directory, name="looking", scopes=[Scope.READ])
    web = start_dashboard()
    page = visit(web, looking).page(f"{web.url}/ui/settings?tab=limits")
    expect(page.locator('tr[data-id="gpt"]')).to_contain_text("mia")
    expect(page.get_by_role("button", name="Reset")).to_have_count(0)
    expect(page.get_by_role("button", name="Set cap")).to_have_count(0)
