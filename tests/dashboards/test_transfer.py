"""What travels between the web process and a browser, and what is loaded for it at all."""

import re
from pathlib import Path

from dashboard_visits import BeginVisit, Guarded
from playwright.sync_api import Request
from web_process import Web, end, start

MOST_BYTES_COLD = 2_500_000
MOST_BYTES_WARM = 100_000


def files_of(web: Web) -> list[str]:
    page = web.client.get("/ui").text
    return [f"/{address}" for address in re.findall(r'(?:src|href)="(static/[^"]+)"', page)]


def test_files_are_packed_and_kept(open_web: Web) -> None:
    files = files_of(open_web)
    assert any("bokeh.min.js?v=" in address for address in files)
    for address in files:
        answer = open_web.client.get(address)
        assert answer.status_code == 200, address
        assert re.match(r"public, max-age=\d{4}", answer.headers["cache-control"]), address
        if "?" in address:
            assert "immutable" in answer.headers["cache-control"], address
        if len(answer.content) > 2_000 and address.split("?")[0].endswith((".js", ".css")):
            assert answer.headers["content-encoding"] == "gzip", address


def test_pages_themselves_are_never_kept(open_web: Web) -> None:
    answer = open_web.client.get("/ui")
    assert answer.headers["cache-control"] == "no-store"
    missing = open_web.client.get("/static/js/nothing.js?v=1")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


def test_a_page_runs_its_own_scripts_only(open_web: Web) -> None:
    first, second = (open_web.client.get("/ui") for _ in range(2))
    policy = dict(
        part.strip().split(" ", 1)
        for part in first.headers["content-security-policy"].split(";")
    )  # fmt: skip
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy["script-src"]  # neither inline scripts nor text that is run
    host = open_web.url.removeprefix("http://")
    assert policy["connect-src"] == f"'self' blob: ws://{host} wss://{host}"
    nonces = [re.findall(r'<script nonce="([^"]+)"', page.text) for page in (first, second)]
    assert first.text.count("<script") == len(nonces[0])
    assert {f"'nonce-{nonce}'" for nonce in nonces[0]} < set(policy["script-src"].split())
    assert set(nonces[0]).isdisjoint(nonces[1])


def test_nobody_can_name_a_module_that_the_server_then_runs(
    open_web: Web, guarded: Guarded
) -> None:
    address = "/components/this/a/b/c"
    assert guarded.web.client.get(address).status_code == 401
    assert open_web.client.get(address).status_code == 404
    assert "Beautiful is better than ugly" not in open_web.log.read_text()


def test_the_api_knows_nothing_of_the_pages(open_web: Web) -> None:
    paths = open_web.client.get("/api/openapi").json()["paths"]
    assert "/api/requests" in paths
    assert not [path for path in paths if path.startswith(("/ui", "/static", "/components"))]


def test_a_page_needs_little_at_first_and_next_to_nothing_then(
    open_web: Web, visit: BeginVisit
) -> None:
    begun = visit(open_web)
    page = begun.context.new_page()
    protocol = begun.context.new_cdp_session(page)
    received: list[float] = []
    protocol.on("Network.loadingFinished", lambda said: received.append(said["encodedDataLength"]))
    protocol.send("Network.enable")
    with page.expect_event("requestfinished", _is_last_part):
        page.goto(f"{open_web.url}/ui")
    assert 500_000 < sum(received) < MOST_BYTES_COLD
    received.clear()
    with page.expect_event("requestfinished", _is_last_part):
        page.reload()
    assert sum(received) < MOST_BYTES_WARM


def _is_last_part(request: Request) -> bool:
    return "panel-material-ui.bundle.js" in request.url


def test_the_api_alone_loads_nothing_of_the_dashboard(tmp_path: Path) -> None:
    web = start(tmp_path / "data", "--only", "api", PYTHONPROFILEIMPORTTIME=1)
    try:
        assert web.client.get("/ui").status_code == 503  # it leads to a dashboard, if there is one
        assert web.client.get("/").status_code == 503
        loaded = set(re.findall(r"\| +(\w+)$", web.log.read_text(), re.MULTILINE))
    finally:
        end(web)
    assert "fastapi" in loaded
    assert loaded.isdisjoint({"panel", "bokeh", "panel_material_ui", "dashboards"})
