"""The frame: addresses, Back, links, themes, restarts, phones, keys."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
import web_process
from axe_playwright_python.sync_playwright import Axe
from dashboard_visits import BeginVisit, fill
from playwright.sync_api import Page, WebSocketRoute, expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dashboard_visits import Guarded
    from web_process import Web

PAGES = ("/ui", "/ui/batches")
PHONE = {"viewport": {"width": 390, "height": 844}, "user_agent": "Mozilla/5.0 (iPhone; Mobi)"}


def heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=name, exact=True, level=1)).to_be_attached()


def menu(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages", exact=True).first.get_by_text(
        name, exact=True
    ).click()


def test_back_and_forward_change_what_is_shown(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui")
    heading(page, "Overview")
    menu(page, "Batches")
    heading(page, "Batches")
    expect(page).to_have_url(re.compile("/ui/batches$"))
    page.locator('tr[data-id="1"]').wait_for()
    page.get_by_role("link", name=re.compile("^Active")).click()
    expect(page).to_have_url(re.compile(r"\?tab=active$"))
    expect(page.locator('tr[data-id="1"]')).to_have_count(0)
    page.go_back()
    page.locator('tr[data-id="1"]').wait_for()
    page.go_back()
    heading(page, "Overview")
    page.go_forward()
    heading(page, "Batches")


def test_an_address_with_filters_opens_as_it_is(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui/batches?tab=active&q=gpt")
    page.locator('tr[data-id="2"]').wait_for()
    expect(page.locator('tr[data-id="1"]')).to_have_count(0)
    expect(page.get_by_role("searchbox", name="Search batches")).to_have_value("gpt")
    page.get_by_role("link", name="Remove the filter Search:").click()
    expect(page).to_have_url(re.compile(r"/ui/batches\?tab=active$"))


def test_ctrl_and_a_click_open_another_tab(visit: BeginVisit, open_web: Web) -> None:
    begun = visit(open_web)
    page = begun.page(f"{open_web.url}/ui")
    heading(page, "Overview")
    with begun.context.expect_page() as opened:
        page.get_by_role("link", name="Batches", exact=True).click(modifiers=["Control"])
    heading(opened.value, "Batches")
    heading(page, "Overview")


def test_an_unknown_address_says_so(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui/nowhere")
    expect(page.get_by_text("There is no such page")).to_be_visible()


def test_the_theme_is_remembered(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web, color_scheme="light").page(f"{open_web.url}/ui")
    root = page.locator("html")
    expect(root).to_have_attribute("data-obm-theme", "light")
    page.get_by_label("Theme").select_option("dark")
    expect(root).to_have_attribute("data-obm-theme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-obm-theme", "dark")
    expect(page.get_by_label("Theme")).to_have_value("dark")


def test_the_theme_of_the_system_is_followed(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web, color_scheme="dark").page(f"{open_web.url}/ui")
    expect(page.locator("html")).to_have_attribute("data-obm-theme", "dark")
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).to_have_attribute("data-obm-theme", "light")


def test_keys_lead_to_pages_the_search_and_rows(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui")
    heading(page, "Overview")
    page.keyboard.press("g")
    page.keyboard.press("b")
    page.locator('tr[data-id="1"]').wait_for()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search batches")).to_be_focused()
    page.keyboard.type("gjb")  # no shortcuts while somebody types
    page.keyboard.press("Escape")
    heading(page, "Batches")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tbody tr:focus")).to_have_attribute("data-id", "1")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/ui/batches/1$"))


def test_the_box_in_the_bar_opens_what_is_called_so(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page(f"{open_web.url}/ui")
    box = page.get_by_role("searchbox", name="Find a request, batch or job")
    box.fill("2")
    box.press("Enter")
    expect(page).to_have_url(re.compile("/ui/batches/2$"))
    page.go_back()
    heading(page, "Overview")


def test_an_open_page_comes_back_after_a_restart(
    visit: BeginVisit, start_dashboard: Callable[[], Web], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fill(tmp_path / "data")
    web = start_dashboard()
    begun = visit(web)
    page = begun.page(f"{web.url}/ui/batches?tab=active")
    page.locator('tr[data-id="2"]').wait_for()
    web.stop(signal.SIGKILL)
    expect(page.get_by_text("The server does not answer")).to_be_visible()
    monkeypatch.setattr(web_process, "free_port", lambda: web.port)
    with page.expect_navigation():
        start_dashboard()
    page.locator('tr[data-id="2"]').wait_for()
    expect(page).to_have_url(re.compile(r"\?tab=active$"))
    begun.troubles.clear()  # the browser complains of the connections that it lost


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_shows_pages_without_scrolling_sideways(
    visit: BeginVisit, open_web: Web, path: str
) -> None:
    page = visit(open_web, **PHONE).page(f"{open_web.url}{path}")
    page.locator("[data-tile] .card").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    content = page.locator(".main-content")
    assert content.evaluate("one => one.scrollWidth <= one.clientWidth")
    expect(page.get_by_role("navigation", name="Pages", exact=True).first).to_be_hidden()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_keeps_people_out(
    visit: BeginVisit, open_web: Web, path: str, scheme: str
) -> None:
    page = visit(open_web, color_scheme=scheme).page(f"{open_web.url}{path}")
    page.locator("[data-tile] .card").first.wait_for()
    expect(page.locator(".skeleton")).to_have_count(0)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    grave = [
        f"{one['id']}: {[node['target'] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
    assert not grave, "\n".join(grave)


def test_the_user_sees_who_he_is(visit: BeginVisit, guarded: Guarded) -> None:
    page = visit(guarded.web, guarded.tokens["viewer"]).page(f"{guarded.web.url}/ui")
    page.get_by_label("viewer, viewer").click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/ui/login"))


def test_what_is_lost_on_the_way_to_the_page_comes_again(visit: BeginVisit, open_web: Web) -> None:
    page = visit(open_web).page("about:blank")
    lost: list[str] = []

    def lose_the_first_rows(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        parts: list[str | bytes] = []  # of one message: header, metadata, content, buffers

        def pass_on(part: str | bytes) -> None:
            parts.append(part)
            if len(parts) < 3:
                return
            text = str(parts[2])
            if not lost and "PATCH-DOC" in str(parts[0]) and "<tbody" in text:
                lost.append(text)
            else:
                for one in parts:
                    route.send(one)
            parts.clear()

        server.on_message(pass_on)

    page.route_web_socket(re.compile("/ws"), lose_the_first_rows)
    page.goto(f"{open_web.url}/ui/batches")
    page.locator('tr[data-id="1"]').wait_for()
    assert lost
