"""Browsers that come to the API's port for the dashboard: where they are led, and when not."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from batching.settings import Settings
from receivers.context import build_context
from receivers.dashboard_elsewhere import DashboardElsewhere
from storage.directory import DataDirectory
from storage.health import HealthFile

Ask = Callable[..., httpx.Response]


async def the_api(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def ask(directory: DataDirectory) -> Ask:
    """Return a function that asks a process which serves the API alone on this address."""

    def asked(
        path: str,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        *,
        method: str = "GET",
        host: str = "127.0.0.1",
    ) -> httpx.Response:
        settings = Settings(_env_file=None, host=host)
        served = DashboardElsewhere(the_api, build_context(settings, directory))

        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(served)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, f"http://127.0.0.1:4000{path}", headers=headers)

        return asyncio.run(answer())

    return asked


@pytest.fixture
def running(directory: DataDirectory) -> HealthFile:
    """A dashboard that says that it runs."""
    health = HealthFile(directory.health, "dashboard")
    health.report("running", "http://127.0.0.1:4001")
    return health


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/", "/ui", "/ui/", "/ui?x=1", "/ui/requests?q=a%20b&state=failed", "/ui/jobs/a%2Fb"]
)
def test_pages_are_at_the_dashboards_port_with_path_and_query(
    ask: Ask, path: str, method: str
) -> None:
    answer = ask(path, method=method)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"http://127.0.0.1:4001{path}"


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:4000", "localhost"),
        ("LocalHost", "LocalHost"),
        ("[::1]:4000", "[::1]"),
        ("127.0.0.2:9", "127.0.0.2"),
    ],
)
def test_the_name_by_which_somebody_came_is_kept(ask: Ask, host: str, name: str) -> None:
    assert ask("/ui", {"Host": host}).headers["location"] == f"http://{name}:4001/ui"


@pytest.mark.usefixtures("running")
def test_a_server_that_others_reach_keeps_any_name(ask: Ask) -> None:
    answer = ask("/ui", {"Host": "batches.example:4000"}, host="0.0.0.0")  # noqa: S104 - what is tested
    assert answer.headers["location"] == "http://batches.example:4001/ui"


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "host", ["a@evil.example", "evil.example/x", "evil.example:99x", "a b", "", "[::1", "x:123456"]
)
def test_what_is_no_name_leads_nowhere(ask: Ask, host: str) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - what is tested
    assert code(ask("/ui", {"Host": host}, host=everywhere)) == (400, "invalid_host")
    two_hosts = [("Host", "a.example"), ("Host", "b.example")]
    assert code(ask("/ui", two_hosts, host=everywhere)) == (400, "invalid_host")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "/ui//evil.example"])
def test_no_path_leads_to_another_site(ask: Ask, path: str) -> None:
    answer = ask(path)
    assert answer.headers.get("location", "http://127.0.0.1:4001/").startswith(
        "http://127.0.0.1:4001/"
    )


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_foreign_pages_are_led_nowhere(ask: Ask, headers: dict[str, str]) -> None:
    assert code(ask("/ui", headers)) == (403, "foreign_page")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded", "Via"]
)
def test_behind_a_proxy_nobody_is_sent_to_a_port(ask: Ask, header: str) -> None:
    answer = ask("/ui", {header: "x", "Host": "batches.example"})
    assert code(answer) == (404, "dashboard_elsewhere")
    assert "port 4001" in answer.text
    assert "/static" in answer.text


def test_without_a_dashboard_it_is_said_what_to_start(
    ask: Ask, directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ask("/ui")
    assert code(never) == (503, "dashboard_unavailable")
    assert "obm web --only dashboard" in never.text
    assert int(never.headers["retry-after"]) > 0

    health = HealthFile(directory.health, "dashboard")
    for state in ("starting", "stopping", "stopped"):
        health.report(state)
        assert code(ask("/ui")) == (503, "dashboard_unavailable")
    health.report("running", "http://[::1]:4001")
    assert ask("/ui").status_code == 307
    monkeypatch.setattr("receivers.dashboard_elsewhere.datetime", _Later)
    assert code(ask("/ui")) == (503, "dashboard_unavailable")


class _Later(datetime):
    """A minute later than now: what was said by then is not believed any more."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # as it is called
        del tz
        return datetime.now(UTC) + timedelta(minutes=1)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs"), ("GET", "/uix"), ("GET", "/static/x.js"), ("POST", "/ui"),
        ("POST", "/ui/login"), ("DELETE", "/ui/x"), ("POST", "/api/requests"),
    ],
)  # fmt: skip
def test_everything_else_is_the_apis(ask: Ask, method: str, path: str) -> None:
    assert ask(path, method=method).status_code == 204
