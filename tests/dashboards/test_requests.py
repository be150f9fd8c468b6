"""The requests pages in a browser: search, deeds and their effect in the ledger, phones, axe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from factories import Store, chat_lines
from playwright.sync_api import Locator, Page, expect
from report_ledger import known_ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web

PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return known_ledger(Store.at(tmp_path / "data"))


@pytest.fixture
def web(store: Store, start_dashboard: Callable[[], Web]) -> Web:
    del store
    return start_dashboard()


def id_of(store: Store, custom_id: str) -> str:
    row = store.rows("SELECT segment, row_index FROM requests WHERE custom_id = ?", custom_id)[0]
    installation = store.value("SELECT value FROM meta WHERE key = 'installation'")
    return f"{installation}-{row['segment']}-{row['row_index']}"


def state_of(store: Store, custom_id: str) -> str:
    return str(store.value("SELECT state FROM requests WHERE custom_id = ?", custom_id))


def row(page: Page, custom_id: str) -> Locator:
    return page.locator("tr[data-id]").filter(has_text=custom_id)


def test_a_search_lives_in_the_address_and_back_keeps_it(
    web: Web, visit: BeginVisit, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/requests")
    row(page, "four-0").wait_for()
    expect(page).to_have_url(re.compile(r"before=4-2"))
    box = page.get_by_role("searchbox", name="Search requests")
    box.fill("state:failed model:gpt-4o-mini")
    box.press("Enter")
    row(page, "one-0").wait_for()
    expect(page.locator("tr[data-id]")).to_have_count(1)
    row(page, "one-0").get_by_role("link", name="one-0").click()
    expect(page).to_have_url(re.compile(f"/ui/requests/{id_of(store, 'one-0')}$"))
    expect(page.get_by_role("heading", name="one-0", level=1)).to_be_visible()
    page.get_by_role("link", name="Response").click()
    expect(page.get_by_role("region", name="the response")).to_contain_text("refused with 400")
    page.go_back()
    page.go_back()
    expect(page.locator("tr[data-id]")).to_have_count(1)
    expect(box).to_have_value("state:failed model:gpt-4o-mini")
    page.get_by_role("link", name="Remove the filter State: failed").click()
    row(page, "one-1").wait_for()
    expect(box).to_have_value("model:gpt-4o-mini")


def test_new_requests_are_counted_and_come_in_on_demand(
    web: Web, visit: BeginVisit, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/requests")
    row(page, "four-0").wait_for()
    store.take_in(chat_lines(2, prefix="late"), name="late", source_id="s9")
    newer = page.get_by_text("2 new · Refresh")
    newer.wait_for()
    expect(row(page, "late-0")).to_have_count(0)
    newer.click()
    row(page, "late-0").wait_for()
    expect(newer).to_have_count(0)


def test_ticked_requests_are_cancelled(web: Web, visit: BeginVisit, store: Store) -> None:
    page = visit(web).page(f"{web.url}/ui/requests?state=pending")
    row(page, "four-0").get_by_role("checkbox").check()
    row(page, "four-1").get_by_role("checkbox").check()
    page.locator("[data-bulk]").get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel 2 requests?")
    dialog.get_by_role("button", name="Cancel requests").click()
    expect(page.get_by_text("2 requests cancelled.")).to_be_visible()
    expect(row(page, "four-0")).to_have_count(0)
    assert [state_of(store, f"four-{n}") for n in range(3)] == ["cancelled", "cancelled", "pending"]


def test_all_that_match_are_redelivered_with_one_answer(
    web: Web, visit: BeginVisit, store: Store
) -> None:
    store.run(
        "UPDATE deliveries SET state = 'exhausted', outcome = 'timeout', problem = 'no answer'"
    )
    page = visit(web).page(f"{web.url}/ui/requests?q=delivery:exhausted&size=10")
    row(page, "two-0").wait_for()
    page.get_by_role("checkbox", name="All rows").check()
    page.locator("[data-bulk]").get_by_role("button", name="Redeliver").click()
    page.get_by_role("dialog", name="Redeliver 4 requests?").get_by_role(
        "button", name="Redeliver"
    ).click()
    expect(page.get_by_text("4 results on the way again.")).to_be_visible()
    expect(page.get_by_text("No request matches these filters.")).to_be_visible()
    assert store.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 4


def test_a_dead_letter_is_redelivered_from_its_page(
    web: Web, visit: BeginVisit, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/requests/{id_of(store, 'two-1')}")
    expect(page.get_by_text("Delivery attempt 1")).to_be_visible()
    page.get_by_role("button", name="Redeliver").click()
    dialog = page.get_by_role("dialog", name="Redeliver request two-1?")
    dialog.get_by_role("button", name="Redeliver").click()
    expect(page.get_by_text("1 result on the way again.")).to_be_visible()
    expect(page.get_by_text("To deliver", exact=True)).to_be_visible()
    assert store.value("SELECT state FROM deliveries WHERE delivery_id = 2") == "pending"


def test_a_failed_request_runs_again_and_a_waiting_one_is_cancelled(
    web: Web, visit: BeginVisit, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/requests/{id_of(store, 'one-0')}")
    page.get_by_role("button", name="Run again").click()
    page.get_by_role("dialog").get_by_role("button", name="Run again").click()
    expect(page.get_by_text("1 request goes into a new batch.")).to_be_visible()
    expect(page.get_by_text("Why waiting?")).to_be_visible()
    assert state_of(store, "one-0") == "pending"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel request").click()
    expect(page.get_by_text("1 request cancelled.")).to_be_visible()
    assert state_of(store, "one-0") == "cancelled"


def test_a_delivery_is_edited_until_it_is_valid(web: Web, visit: BeginVisit, store: Store) -> None:
    page = visit(web).page(f"{web.url}/ui/requests/{id_of(store, 'four-0')}")
    page.get_by_role("button", name="Edit delivery").click()
    dialog = page.get_by_role("dialog", name="Edit the delivery of four-0")
    expect(dialog.get_by_label("Address")).to_be_hidden()
    dialog.get_by_label("Where the result goes").select_option("webhook")
    dialog.get_by_label("Address").fill("nowhere")
    dialog.get_by_role("button", name="Change delivery").click()
    expect(dialog.get_by_text("must begin with http:// or https://")).to_be_visible()
    expect(dialog.get_by_label("Address")).to_have_value("nowhere")
    dialog.get_by_label("Address").fill("https://new.example/hook")
    dialog.get_by_role("button", name="Change delivery").click()
    expect(page.get_by_text("The delivery is changed")).to_be_visible()
    expect(page.get_by_text("webhook new.example").first).to_be_visible()
    assert store.value(
        "SELECT target FROM requests JOIN destinations USING (destination_id) "
        "WHERE custom_id = 'four-0'"
    ) == "webhook:https://new.example:443"  # fmt: skip


def test_a_custom_id_in_the_address_opens_its_request(
    web: Web, visit: BeginVisit, store: Store
) -> None:
    page = visit(web).page(f"{web.url}/ui/requests?custom_id=one-0")
    expect(page).to_have_url(re.compile(f"/ui/requests/{id_of(store, 'one-0')}$"))
    page.goto(f"{web.url}/ui/requests/no-such-id")
    page.get_by_role("link", name="Search for it").click()
    expect(page.get_by_text("No request matches these filters.")).to_be_visible()


def test_phones_axe_and_both_themes(web: Web, visit: BeginVisit, store: Store) -> None:
    paths = (
        "/ui/requests", "/ui/requests?q=state:failed+job:nope",
        f"/ui/requests/{id_of(store, 'two-1')}",
        f"/ui/requests/{id_of(store, 'one-0')}?tab=response",
    )  # fmt: skip
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE):
        begun = visit(web, **options)
        for path in paths:
            page = begun.page(f"{web.url}{path}")
            page.locator("[data-tile] .card:not(:has(.skeleton))").first.wait_for()
            expect(page.locator(".skeleton")).to_have_count(0)
            if options is PHONE:
                content = page.locator(".main-content")
                assert content.evaluate("one => one.scrollWidth <= one.clientWidth"), path
            else:
                assert_nothing_grave(page, path)
            page.close()


def assert_nothing_grave(page: Page, path: str) -> None:
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    grave = [
        f"{path}: {one['id']}: {[node['target'] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
    assert not grave, "\n".join(grave)
