"""The first page in a browser: what it shows, where it leads, and what it teaches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from factories import Store
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import BeginVisit
    from web_process import Web


def test_figures_lead_to_what_they_count(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui")
    expect(page.get_by_role("link", name=re.compile("Requests, 24 h"))).to_contain_text("10")
    expect(page.get_by_role("link", name=re.compile("Dead letters"))).to_contain_text("0")
    expect(page.get_by_text("Nothing needs you")).to_be_visible()
    page.get_by_role("link", name=re.compile("At OpenAI")).click()
    expect(page).to_have_url(re.compile(r"/ui/batches\?tab=active$"))


def test_charts_are_drawn_and_have_their_figures_beside_them(
    visit: BeginVisit, open_web: Web
) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui")
    picture = page.get_by_role("img", name="Requests by outcome over time")
    expect(picture.locator("canvas")).to_be_visible()
    page.locator("#table-outcomes summary").click()
    table = page.get_by_role("region", name="Requests by outcome")
    expect(table.get_by_role("row").last).to_contain_text("5")


def test_an_empty_system_says_how_to_begin(
    visit: BeginVisit, tmp_path: Path, start_dashboard: Callable[[], Web]
) -> None:
    store = Store.at(tmp_path / "data")
    web = start_dashboard()
    page = visit(web, permissions=["clipboard-read", "clipboard-write"]).page(f"{web.url}/ui")
    expect(page.get_by_text("Drop a file of requests here")).to_be_visible()
    expect(page.get_by_text(str(store.directory.inbox))).to_be_visible()
    page.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl -X POST")
    assert "/api/requests" in copied


def test_a_chosen_file_is_taken_to_the_page_that_sends_it(
    visit: BeginVisit, tmp_path: Path, start_dashboard: Callable[[], Web]
) -> None:
    Store.at(tmp_path / "data")
    web = start_dashboard()
    page = visit(web).page(f"{web.url}/ui")
    file = tmp_path / "first.jsonl"
    file.write_text("{}\n")
    page.locator("[data-drop] input").set_input_files(file)
    expect(page).to_have_url(re.compile("/ui/upload$"))
    assert page.evaluate("window.obmDroppedFiles[0].name") == "first.jsonl"
