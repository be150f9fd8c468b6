"""Dashboards to look at in tests, and what goes wrong while a browser looks at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from factories import Store, chat_lines

from receivers.browser_sessions import cookie_name

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Response
    from web_process import Web

_ASSETS: Final = frozenset({"script", "stylesheet", "font", "image", "document"})
_LOCAL: Final = frozenset({"127.0.0.1", "localhost"})


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A dashboard with tokens, and their texts by the names of their owners."""

    web: Web
    tokens: dict[str, str]


@dataclass(kw_only=True)
class Visit:
    """A browser of its own, and everything that has gone wrong in it."""

    context: BrowserContext
    troubles: list[str] = field(default_factory=list)

    def page(self, address: str) -> Page:
        """Open an address in a new tab."""
        page = self.context.new_page()
        page.goto(address)
        return page

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        page.on("console", self._hear)
        page.on("request", lambda request: self._check_host(request.url))
        page.on("response", self._check_answer)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.troubles.append(f"console: {said.text}")

    def _check_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname not in _LOCAL:
            self.troubles.append(f"a request left this machine: {url}")

    def _check_answer(self, response: Response) -> None:
        if response.status >= 400 and response.request.resource_type in _ASSETS:
            self.troubles.append(f"{response.status} for {response.url}")


def fill(root: Path) -> None:
    """Make a data directory in which something has been delivered, is under way and waits."""
    store = Store.at(root)
    store.take_in(chat_lines(5, prefix="done"), name="finished", source_id="s1")
    store.answer_all(store.ended())
    store.deliver()
    store.take_in(chat_lines(3, prefix="away"), name="running", source_id="s2")
    store.claim()
    store.take_in(chat_lines(2, prefix="new"), name="waiting", source_id="s3")


def cookie_of(web: Web) -> str:
    return cookie_name(str(web.directory.root))


def log_in(web: Web, token: str) -> str:
    """Log in as the form does; return what the cookie says."""
    answer = web.client.post("/ui/login", data={"token": token}, headers={"Origin": web.url})
    assert answer.status_code == 303, answer.text
    value = answer.cookies[cookie_of(web)]
    web.client.cookies.clear()
    return value


BeginVisit = Callable[..., Visit]
