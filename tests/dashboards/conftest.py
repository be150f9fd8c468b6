"""The web role with its dashboard in a process, and browsers that look at it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest
from dashboard_visits import Guarded, Visit, cookie_of, fill, log_in
from dashboard_walks import Walk, known_deeds
from playwright.sync_api import expect, sync_playwright
from running_system import System, running_system
from walked_deeds import WALKED
from web_process import Web, end, start

from batching.access import Scope
from storage.access_tokens import create_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

_ARGUMENTS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_TIMEOUT_MILLISECONDS: Final = 20_000
_READERS: Final = {
    "viewer": (Scope.READ,),
    "operator": (Scope.READ, Scope.OPERATE, Scope.SUBMIT),
    "sender": (Scope.SUBMIT,),
}


@pytest.fixture(scope="session")
def open_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A dashboard that has no tokens: everybody on this machine may do everything."""
    yield from _served(tmp_path_factory.mktemp("open") / "data")


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    for web in _served(tmp_path_factory.mktemp("guarded") / "data"):
        tokens = {
            name: create_token(web.directory, name=name, scopes=scopes)
            for name, scopes in _READERS.items()
        }
        while web.client.get("/ui").status_code == 200:
            pass
        yield Guarded(web=web, tokens=tokens)


def _served(data: Path) -> Iterator[Web]:
    fill(data)
    web = start(data, "--only", "dashboard")
    try:
        yield web
        assert web.stop() == 0
        assert "Traceback" not in web.log.read_text(), web.log.read_text()
    finally:
        end(web)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium of the system; it is never downloaded.

    Playwright keeps an event loop running, so it must have ended before tests of other modules.
    """
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        reason = "there is no Chromium: `apt-get install chromium`, or set CHROMIUM to its path"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=_TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def visit(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path,
    start_dashboard: Callable[[], Web],
) -> Iterator[Callable[..., Visit]]:  # fmt: skip
    """Begin a visit, logged in with a token if there is one; nothing may go wrong in it."""
    del start_dashboard  # what was started ends after the visits: their pages would miss it
    visits: list[Visit] = []

    def begin(web: Web, token: str | None = None, **options: object) -> Visit:
        begun = _visit(browser, web, token, **options)
        visits.append(begun)
        return begun

    yield begin
    for number, begun in enumerate(visits):
        for tab, page in enumerate(begun.context.pages):
            if request.session.testsfailed:
                page.screenshot(path=tmp_path / f"visit-{number}-{tab}.png")
        begun.context.close()
    troubles = [trouble for begun in visits for trouble in begun.troubles]
    assert not troubles, "\n".join(troubles)


def _visit(browser: Browser, web: Web, token: str | None = None, **options: object) -> Visit:
    options.setdefault("viewport", {"width": 1440, "height": 900})
    context = browser.new_context(**options)  # type: ignore[arg-type]  # options of Playwright
    context.set_default_timeout(_TIMEOUT_MILLISECONDS)
    begun = Visit(context=context)
    context.on("page", begun.watch)
    if token is not None:
        cookie = {"name": cookie_of(web), "value": log_in(web, token), "url": web.url}
        context.add_cookies([cookie])  # type: ignore[list-item]  # a dictionary of Playwright
    return begun


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A whole system of the module's own, at work on nothing yet."""
    with running_system(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture(scope="module")
def walking(browser: Browser, system: System) -> Iterator[Walk]:
    """Somebody in one tab of that system's dashboard, through all tests of the module."""
    visit = _visit(browser, system.web, accept_downloads=True)
    yield Walk(visit=visit, url=system.web.url)
    visit.context.close()


@pytest.fixture
def walk(
    walking: Walk, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Walk]:  # fmt: skip
    """The same one for one test, which must set off what `walked_deeds` says, without trouble."""
    failed_before = request.session.testsfailed
    walking.done.clear()
    yield walking
    if request.session.testsfailed > failed_before:
        walking.page.screenshot(path=tmp_path / "walk.png")
        return
    troubles, walking.visit.troubles = walking.visit.troubles, []
    assert not troubles, "\n".join(troubles)
    here = (request.path.name, request.node.name)
    promised = {deed for deed, walk in WALKED.items() if walk == here}
    assert promised <= walking.done, f"not set off: {sorted(promised - walking.done)}"
    assert walking.done <= known_deeds(), sorted(walking.done - known_deeds())


@pytest.fixture
def start_dashboard(tmp_path: Path) -> Iterator[Callable[[], Web]]:
    """Return a function that starts a dashboard of the test's own, always on the same data."""
    started: list[Web] = []

    def begin() -> Web:
        started.append(start(tmp_path / "data", "--only", "dashboard"))
        return started[-1]

    yield begin
    for web in started:
        end(web)
