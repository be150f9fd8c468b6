"""Who may look at the dashboard, and what a browser is given for it."""

import time

import httpx
import pytest
from dashboard_visits import BeginVisit, Guarded
from playwright.sync_api import expect
from web_process import StartWeb, Web

from batching.access import Scope
from storage.access_tokens import create_token, revoke_token

WRONG = "obm_00000000_wrong"


def get(web: Web, path: str, cookie: str = "", **headers: str) -> httpx.Response:
    return web.client.get(path, headers={"Cookie": cookie, **headers})


def post(web: Web, path: str, cookie: str = "", **fields: str) -> httpx.Response:
    headers = {"Origin": web.url, "Cookie": cookie}
    return web.client.post(path, data=fields, headers=headers)


def cookie_from(answer: httpx.Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


@pytest.fixture
def operator_cookie(guarded: Guarded) -> str:
    return cookie_from(post(guarded.web, "/ui/login", token=guarded.tokens["operator"]))


def test_without_tokens_this_machine_looks_without_a_login(open_web: Web) -> None:
    assert get(open_web, "/ui").status_code == 200
    assert get(open_web, "/").headers["location"] == "/ui"
    answer = get(open_web, "/ui/login?next=/ui/batches")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/batches")


def test_without_tokens_pages_of_other_sites_are_kept_out(open_web: Web) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        for path in ("/ui", "/ui/login", "/"):
            assert get(open_web, path, **headers).status_code == 403


def test_pages_lead_to_the_login_and_remember_where_to_go(guarded: Guarded) -> None:
    answer = get(guarded.web, "/ui/requests?q=a%20b&state=failed")
    assert answer.status_code == 303
    address = answer.headers["location"]
    assert address == "/ui/login?next=%2Fui%2Frequests%3Fq%3Da%2520b%26state%3Dfailed"
    page = get(guarded.web, address)
    assert page.status_code == 200
    assert 'value="/ui/requests?q=a%20b&amp;state=failed"' in page.text
    assert "<script" not in page.text


def test_data_is_refused_as_data_without_a_login(guarded: Guarded) -> None:
    answer = get(guarded.web, "/api/jobs")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "unauthorized")


def test_a_link_from_another_site_arrives_for_who_is_logged_in(
    guarded: Guarded, operator_cookie: str
) -> None:
    # Such a link brings no cookie with it; the page that it finds leads on, and that does.
    first = get(guarded.web, "/ui/batches/7", **{"Sec-Fetch-Site": "cross-site"})
    assert (first.status_code, "/ui/login?next=%2Fui%2Fbatches%2F7" in first.text) == (200, True)
    then = get(guarded.web, "/ui/login?next=%2Fui%2Fbatches%2F7", operator_cookie)
    assert (then.status_code, then.headers["location"]) == (303, "/ui/batches/7")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/uix",
        "/api/jobs",
        "javascript:1",
    ],
)
def test_the_login_leads_nowhere_else(guarded: Guarded, target: str) -> None:
    answer = post(guarded.web, "/ui/login", token=guarded.tokens["viewer"], next=target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui")


def test_the_cookie_is_kept_from_scripts_other_sites_and_open_wires(guarded: Guarded) -> None:
    web, token = guarded.web, guarded.tokens["viewer"]
    plain = post(web, "/ui/login", token=token).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} < set(plain.split("; "))
    assert "Secure" not in plain
    behind_tls = {"Origin": web.url, "X-Forwarded-Proto": "https"}
    secure = web.client.post("/ui/login", data={"token": token}, headers=behind_tls)
    assert "Secure" in secure.headers["set-cookie"].split("; ")
    web.client.cookies.clear()
    kept = web.directory.web_sessions
    assert kept.stat().st_mode & 0o777 == 0o600
    assert plain.partition(";")[0].partition("=")[2] not in kept.read_text()


def test_a_wrong_token_is_told_so(guarded: Guarded) -> None:
    answer = post(guarded.web, "/ui/login", token=WRONG, next="/ui/jobs")
    assert answer.status_code == 401
    assert "not valid here" in answer.text
    assert 'value="/ui/jobs"' in answer.text
    assert "set-cookie" not in answer.headers


def test_a_token_that_may_not_read_cannot_log_in(guarded: Guarded) -> None:
    answer = post(guarded.web, "/ui/login", token=guarded.tokens["sender"])
    assert (answer.status_code, "scope read" in answer.text) == (403, True)


def test_a_form_of_another_site_logs_nobody_in(guarded: Guarded) -> None:
    fields = {"token": guarded.tokens["viewer"]}
    for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        answer = guarded.web.client.post("/ui/login", data=fields, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_an_endless_form_is_refused(guarded: Guarded) -> None:
    assert post(guarded.web, "/ui/login", token="x" * 20_000).status_code == 400


def test_who_is_logged_in_reads_data_and_acts_only_from_our_own_pages(
    guarded: Guarded, operator_cookie: str
) -> None:
    web = guarded.web
    assert get(web, "/api/jobs", operator_cookie).status_code == 200
    for headers, status in (
        ({"Origin": web.url}, 404),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": web.url, "Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 403),
    ):
        answer = web.client.post("/api/nothing", headers={"Cookie": operator_cookie, **headers})
        assert answer.status_code == status, headers


def test_a_viewer_may_look_and_not_act(guarded: Guarded) -> None:
    web = guarded.web
    cookie = cookie_from(post(web, "/ui/login", token=guarded.tokens["viewer"]))
    assert get(web, "/api/jobs", cookie).status_code == 200
    answer = post(web, "/api/nothing", cookie)
    assert answer.json()["errors"][0]["code"] == "insufficient_scope"


def test_logging_out_ends_the_session_for_good(guarded: Guarded, operator_cookie: str) -> None:
    web = guarded.web
    assert web.client.post("/ui/logout", headers={"Cookie": operator_cookie}).status_code == 403
    answer = post(web, "/ui/logout", operator_cookie)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    web.client.cookies.clear()
    assert get(web, "/api/jobs", operator_cookie).status_code == 401


def test_a_cookie_that_was_made_up_is_nobodys(guarded: Guarded, operator_cookie: str) -> None:
    name = operator_cookie.partition("=")[0]
    for cookie in (f"{name}=", f"{name}=made-up", f"other; {name}={'x' * 5_000}", "=", ";;"):
        assert get(guarded.web, "/api/jobs", cookie).status_code == 401


def test_a_revoked_token_ends_its_sessions(guarded: Guarded) -> None:
    web = guarded.web
    token = create_token(web.directory, name="passing", scopes=[Scope.READ])
    time.sleep(0.6)  # so long new tokens may take; asking before would count as a wrong one
    cookie = cookie_from(post(web, "/ui/login", token=token))
    assert get(web, "/api/jobs", cookie).status_code == 200
    revoke_token(web.directory, "passing")
    for _ in range(100):
        if get(web, "/api/jobs", cookie).status_code == 401:
            return
        time.sleep(0.02)
    raise AssertionError("the session has outlived its token")


def test_a_restart_logs_nobody_out_and_many_wrong_tokens_are_slowed_down(
    start_dashboard: StartWeb,
) -> None:
    web = start_dashboard()
    token = create_token(web.directory, name="someone", scopes=[Scope.READ])
    time.sleep(1)
    cookie = cookie_from(post(web, "/ui/login", token=token))
    assert web.stop() == 0
    again = start_dashboard()
    assert get(again, "/api/jobs", cookie).status_code == 200
    statuses = [post(again, "/ui/login", token=WRONG).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert post(again, "/ui/login", token=token).status_code == 303


def test_people_log_in_with_the_form_and_see_their_page(
    guarded: Guarded, visit: BeginVisit
) -> None:
    begun = visit(guarded.web)
    page = begun.page(f"{guarded.web.url}/ui/batches")
    page.get_by_label("Access token").fill("obm_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid here")
    begun.troubles.clear()  # the refusal itself is a 401
    page.get_by_label("Access token").fill(guarded.tokens["viewer"])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/ui/batches")
    expect(page.locator(".bk-panel-models-esm, .bk-root, [data-root-id]").first).to_be_attached()
