"""A web process with open pages: it ends soon, and what was open finds it again."""

import signal
from typing import Any

from dashboard_visits import BeginVisit
from web_process import StartWeb

LONGEST_STOP_SECONDS = 15


def await_connection(page: Any) -> None:
    """Return when the page has its document; asked from outside, as it runs no text as code."""
    for _ in range(600):
        if page.evaluate("Boolean(window.Bokeh && Bokeh.documents.length)"):
            return
        page.wait_for_timeout(50)
    raise AssertionError("the page was never connected")


def test_open_pages_do_not_keep_the_process_from_ending(
    start_dashboard: StartWeb, visit: BeginVisit
) -> None:
    web = start_dashboard()
    begun = visit(web)
    pages = [begun.page(f"{web.url}/ui") for _ in range(3)]
    for page in pages:
        await_connection(page)
    web.process.send_signal(signal.SIGTERM)
    assert web.process.wait(LONGEST_STOP_SECONDS) == 0
    assert "Traceback" not in web.log.read_text(), web.log.read_text()
    for page in pages:
        page.close()
    begun.troubles.clear()  # pages say that their server is gone


def test_a_silent_page_stays_connected_though_silent_requests_are_closed(
    start_dashboard: StartWeb, visit: BeginVisit
) -> None:
    web = start_dashboard()  # it closes connections that are silent for a second
    page = visit(web).page(f"{web.url}/ui")
    await_connection(page)
    closed: list[str] = []
    page.on("websocket", lambda _again: closed.append("opened again"))
    page.evaluate("Bokeh.documents[0].on_event('connection_lost', () => console.error('lost'))")
    page.wait_for_timeout(2_500)  # what goes wrong in a visit fails its test
    assert not closed
