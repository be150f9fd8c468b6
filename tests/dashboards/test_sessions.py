"""Sessions of pages: they end when their page is closed."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import panel as pn
import pytest
from bokeh_fastapi import BokehFastAPI
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from batching.access import LOCAL, VISITOR_HEADER
from batching.errors import ConfigurationError
from batching.settings import Settings
from dashboards import shell, websocket_patch
from dashboards.context import DashboardContext
from dashboards.mount import mount
from storage.directory import DataDirectory

pytestmark = pytest.mark.filterwarnings(
    # Panel 1.9 speaks to the Tornado that it knows; 6.7, where that ends, is not installed.
    "ignore:The .* to HTTPServerRequest:DeprecationWarning"
)
HEADERS = {VISITOR_HEADER: LOCAL.as_header()}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pages say when their sessions are destroyed; they do nothing else by themselves."""
    said: list[str] = []

    def quiet_page(*_: Any) -> pn.pane.HTML:
        pn.state.on_session_destroyed(lambda _context: said.append("ended"))
        return pn.pane.HTML("a page")

    monkeypatch.setattr(shell, "build", quiet_page)
    return said


@pytest.fixture
def dashboard(tmp_path: Path, ended: list[str]) -> Iterator[tuple[TestClient, BokehFastAPI]]:
    del ended
    with served_with(tmp_path, unused_seconds=0.6) as dashboard:
        yield dashboard


@contextmanager
def served_with(
    folder: Path, *, unused_seconds: float
) -> Iterator[tuple[TestClient, BokehFastAPI]]:
    directory = DataDirectory(folder)
    directory.create()
    app = FastAPI()
    context = DashboardContext(settings=Settings(), directory=directory)
    served = mount(app, context, unused_seconds=unused_seconds)
    with TestClient(app, headers=HEADERS) as client:
        yield client, served


def token_of_page(client: TestClient) -> str:
    found = re.search(r'"token":"([^"]+)"', client.get("/ui").text)
    assert found is not None
    return found[1]


@contextmanager
def connected(client: TestClient, token: str) -> Iterator[None]:
    """Connect a page, and close it again."""
    with client.websocket_connect("/ui/ws", subprotocols=["bokeh", token]) as connection:
        assert "ACK" in connection.receive_text()
        yield


def sessions_of(served: BokehFastAPI) -> int:
    return sum(len(context.sessions) for context in served._applications.values())


def until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("this has not come about in time")


def test_a_closed_page_frees_its_session(
    dashboard: tuple[TestClient, BokehFastAPI], ended: list[str]
) -> None:
    client, served = dashboard
    with connected(client, token_of_page(client)), connected(client, token_of_page(client)):
        assert sessions_of(served) == 2
        assert not ended
    until(lambda: sessions_of(served) == 0)
    assert len(ended) == 2
    assert not served._clients


def test_a_closed_page_is_not_kept_as_long_as_one_that_has_yet_to_connect(
    tmp_path: Path, ended: list[str]
) -> None:
    with served_with(tmp_path, unused_seconds=60) as (client, served):
        with connected(client, token_of_page(client)):
            assert client.get("/ui").status_code == 200
        until(lambda: not served._clients)
        assert client.portal is not None
        client.portal.call(served._cleanup_sessions)
        assert sessions_of(served) == 1
        assert len(ended) == 1


def test_a_page_that_never_connects_frees_its_session(
    dashboard: tuple[TestClient, BokehFastAPI], ended: list[str]
) -> None:
    client, served = dashboard
    assert client.get("/ui").status_code == 200
    until(lambda: sessions_of(served) == 0)
    assert len(ended) == 1


def test_a_page_that_connects_too_late_is_told_so(
    dashboard: tuple[TestClient, BokehFastAPI],
) -> None:
    client, served = dashboard
    token = token_of_page(client)
    until(lambda: sessions_of(served) == 0)
    with pytest.raises(WebSocketDisconnect), connected(client, token):
        pass


def test_the_pages_are_not_part_of_the_described_api(
    dashboard: tuple[TestClient, BokehFastAPI],
) -> None:
    client, _served = dashboard
    assert not client.get("/openapi.json").json()["paths"]


def test_another_version_of_what_is_corrected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_patch, "version", lambda _name: "0.1.9")
    with pytest.raises(ConfigurationError, match=r"bokeh-fastapi 0\.1\.9"):
        websocket_patch.apply_websocket_patch()
