"""What somebody waits for who opens the dashboard in Chromium and walks through it."""

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    Page,
    sync_playwright,
)

WALK = ("Batches", "Requests", "Overview")
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_PATIENCE_MILLISECONDS = 60_000
_MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Cold:
    """A visit of a browser that keeps nothing."""

    visible_seconds: float
    transferred_megabytes: float


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the Chromium of the system."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        raise SystemExit("there is no Chromium: install it, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def cold_visits(browser: Browser, url: str, times: int) -> list[Cold]:
    """Open the first page so many times, each time as somebody who has never been there."""
    return [_cold_visit(browser, url) for _ in range(times)]


def page_changes(browser: Browser, url: str, rounds: int) -> dict[str, float]:
    """Walk round in one tab; return the median seconds until all data of each place are shown."""
    seconds: dict[str, list[float]] = {}
    context = _context(browser)
    page = context.new_page()
    page.goto(f"{url}/ui")
    _await_data(page, "Overview")
    for _ in range(rounds):
        for name in WALK:
            link = page.get_by_role("navigation", name="Pages", exact=True).first
            took = _timed(page, link.get_by_text(name, exact=True).click, name)
            seconds.setdefault(name, []).append(took)
        seconds.setdefault("Back", []).append(_timed(page, page.go_back, WALK[-2]))
    context.close()
    return {name: statistics.median(found) for name, found in seconds.items()}


def _cold_visit(browser: Browser, url: str) -> Cold:
    context = _context(browser)
    page = context.new_page()
    counted = _count_bytes(context.new_cdp_session(page))
    visible_seconds = _timed(page, lambda: page.goto(f"{url}/ui", wait_until="commit"), WALK[-1])
    page.wait_for_load_state("networkidle")
    context.close()
    return Cold(visible_seconds=visible_seconds, transferred_megabytes=sum(counted) / _MEGABYTE)


def _timed(page: Page, go: Callable[[], object], name: str) -> float:
    began = time.perf_counter()
    go()
    _await_data(page, name)
    return time.perf_counter() - began


def _await_data(page: Page, name: str) -> None:
    """Wait until the page of that name is shown, with none of its places still empty."""
    page.get_by_role("heading", name=name, exact=True, level=1).wait_for(state="attached")
    page.wait_for_selector(".skeleton", state="detached")


def _context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(_PATIENCE_MILLISECONDS)
    return context


def _count_bytes(session: CDPSession) -> list[float]:
    """Count what comes over the network, packed and with heads, websockets included."""
    counted: list[float] = []
    session.on("Network.loadingFinished", lambda event: counted.append(event["encodedDataLength"]))
    session.on(
        "Network.webSocketFrameReceived",
        lambda event: counted.append(len(event["response"]["payloadData"])),
    )
    session.send("Network.enable")
    return counted
