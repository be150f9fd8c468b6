"""The websockets of pages: who may open them, and what their tokens give away."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bokeh.util.token import get_token_payload
from dashboard_visits import Guarded, cookie_of, log_in
from web_process import Web
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from batching.access import VISITOR_HEADER, Identity, Scope
from storage.access_tokens import create_token, revoke_token


def token_of_page(web: Web, cookie: str = "", **headers: str) -> str:
    page = web.client.get("/ui", headers={"Cookie": cookie, **headers})
    found = re.search(r'"token":"([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


@contextmanager
def connected(
    web: Web, token: str, *, cookie: str = "", origin: str | None = "", **headers: str
) -> Iterator[ClientConnection]:
    address = web.url.replace("http", "ws", 1) + "/ui/ws"
    with connect(
        address,
        origin=web.url if origin == "" else origin,  # type: ignore[arg-type]  # an Origin is text
        subprotocols=["bokeh", token],  # type: ignore[list-item]  # so is a subprotocol
        additional_headers={"Cookie": cookie, **headers},
        close_timeout=1,
    ) as connection:
        yield connection


def is_refused(web: Web, token: str, **how: str | None) -> bool:
    try:
        with connected(web, token, **how) as connection:  # type: ignore[arg-type]  # as its own
            connection.recv(timeout=5)
    except InvalidStatus as refusal:
        return refusal.response.status_code == 403
    return False


def session_of(guarded: Guarded, name: str) -> str:
    return f"{cookie_of(guarded.web)}={log_in(guarded.web, guarded.tokens[name])}"


def test_only_pages_of_our_own_connect_to_an_open_dashboard(open_web: Web) -> None:
    token = token_of_page(open_web)
    assert not is_refused(open_web, token)
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null", None):
        assert is_refused(open_web, token, origin=origin), origin


def test_a_connection_wants_a_login(guarded: Guarded) -> None:
    cookie = session_of(guarded, "viewer")
    token = token_of_page(guarded.web, cookie)
    assert not is_refused(guarded.web, token, cookie=cookie)
    assert is_refused(guarded.web, token)
    assert is_refused(guarded.web, token, cookie=f"{cookie}x")
    assert is_refused(guarded.web, token, cookie=cookie, origin="http://evil.example")
    assert is_refused(guarded.web, token, cookie=cookie, origin=None)


def test_nobody_joins_the_page_of_somebody_else(guarded: Guarded) -> None:
    token = token_of_page(guarded.web, session_of(guarded, "operator"))
    assert is_refused(guarded.web, token, cookie=session_of(guarded, "viewer"))


def test_a_token_that_was_changed_or_is_none_is_refused_without_noise(open_web: Web) -> None:
    token = token_of_page(open_web)
    for other in (token[:-4] + "AAAA", "no-token", "YQ"):
        assert is_refused(open_web, other), other


def test_a_page_knows_its_visitor_and_no_secret(guarded: Guarded) -> None:
    cookie = session_of(guarded, "viewer")
    forged = Identity(name="root", scopes=frozenset(Scope)).as_header()
    token = token_of_page(guarded.web, cookie, **{VISITOR_HEADER: forged})
    payload = get_token_payload(token)  # type: ignore[arg-type]  # its own kind of text
    visitor = Identity.from_header(payload["headers"].pop(VISITOR_HEADER))
    assert visitor == Identity(name="viewer", scopes=frozenset([Scope.READ]))
    assert set(payload["headers"]) <= {"User-Agent", "Host", "Cookie"}
    assert not payload["headers"].get("Cookie")
    assert payload["cookies"] == {}


def test_a_page_is_cut_off_when_its_token_is_revoked(guarded: Guarded) -> None:
    web = guarded.web
    guarded.tokens["leaving"] = create_token(web.directory, name="leaving", scopes=[Scope.READ])
    time.sleep(0.6)
    cookie = session_of(guarded, "leaving")
    with connected(web, token_of_page(web, cookie), cookie=cookie) as connection:
        connection.recv(timeout=5)
        revoke_token(web.directory, "leaving")
        with pytest.raises(ConnectionClosed):
            _receive_until_it_ends(connection)


def _receive_until_it_ends(connection: ClientConnection) -> None:
    while True:
        connection.recv(timeout=5)
