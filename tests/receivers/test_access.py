"""Who may use the API: everybody on this machine until there is a token, then token holders."""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from running_commands import environment_of, free_port
from web_process import StartWeb, Web, request_line

from batching.access import ALL_SCOPES, Scope
from storage.access_tokens import create_token, revoke_token
from storage.directory import DataDirectory

BRING = ("POST", "/api/requests")
LOOK = ("GET", "/api/nothing")
ACT = ("POST", "/api/nothing")
CALLS = {Scope.SUBMIT: BRING, Scope.READ: LOOK, Scope.OPERATE: ACT}


def ask(web: Web, call: tuple[str, str], **headers: str) -> httpx.Response:
    return web.client.request(*call, json=request_line(), headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def problem(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return {scope: create_token(directory, name=scope, scopes=[scope]) for scope in Scope}


def test_each_scope_opens_its_own_door_only(start_web: StartWeb, tokens: dict[str, str]) -> None:
    web = start_web()
    for scope in Scope:
        for needed, call in CALLS.items():
            answer = ask(web, call, **bearer(tokens[scope]))
            assert (answer.status_code == 403) is (scope is not needed), (scope, needed)
            if scope is not needed:
                assert problem(answer) == "insufficient_scope"
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]


def test_nobody_without_a_valid_token_gets_in(start_web: StartWeb, tokens: dict[str, str]) -> None:
    web, right = start_web(), tokens["submit"]
    for given in (
        "", "Bearer", f"Basic {right}", f"Bearer {right}x", f"Bearer {right[:-1]}",
        "Bearer obm_00000000_" + "x" * 43, right,
    ):  # fmt: skip
        answer = ask(web, BRING, Authorization=given)
        assert (answer.status_code, problem(answer)) == (401, "unauthorized"), given
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert ask(web, BRING).status_code == 401
    assert web.client.put("/api/requests").status_code == 401
    assert web.client.get("/api/openapi").status_code == 200
    assert web.client.get("/api/swaggerui").status_code == 200
    assert web.client.get("/health").status_code != 401
    assert ask(web, BRING, **bearer(right)).status_code == 202


def test_many_wrong_tokens_are_slowed_down_and_right_ones_are_not(
    start_web: StartWeb, tokens: dict[str, str]
) -> None:
    web = start_web()
    statuses = [ask(web, BRING, **bearer("wrong")).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    answer = ask(web, BRING, **bearer("wrong"))
    assert (problem(answer), int(answer.headers["retry-after"]) > 0) == ("too_many_failures", True)
    assert ask(web, BRING, **bearer(tokens["submit"])).status_code == 202


def test_tokens_made_and_revoked_count_at_once_without_a_restart(start_web: StartWeb) -> None:
    web = start_web()
    assert ask(web, BRING).status_code == 202
    token = create_token(web.directory, name="late", scopes=ALL_SCOPES)
    wait_for(web, 401)
    assert ask(web, BRING, **bearer(token)).status_code == 202
    revoke_token(web.directory, "late")
    wait_for(web, 401, **bearer(token))


def test_a_damaged_token_file_leaves_the_last_tokens_in_force(
    start_web: StartWeb, tokens: dict[str, str]
) -> None:
    web = start_web()
    web.directory.tokens.write_text("{")
    wait_for(web, 202, **bearer(tokens["submit"]))
    assert ask(web, BRING).status_code == 401


def wait_for(web: Web, status: int, **headers: str) -> None:
    """Ask again for the second that a change may take."""
    for _ in range(200):
        if ask(web, BRING, **headers).status_code == status:
            return
        time.sleep(0.02)
    raise AssertionError(status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost.evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost"}, 202),
        ({"Host": "LOCALHOST:4000"}, 202),
        ({"Host": "127.0.0.2:1"}, 202),
        ({"Host": "[::1]:4000"}, 202),
        ({"Host": "localhost:4000", "Origin": "http://localhost:4000"}, 202),
        ({"Host": "localhost:4000", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:4000", "Origin": "https://evil.example"}, 403),
        ({"Host": "localhost:4000", "Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_use_an_open_server(
    shared_web: Web, headers: dict[str, str], status: int
) -> None:
    answer = ask(shared_web, BRING, **headers)
    assert answer.status_code == status
    if status == 403:
        assert problem(answer) == "foreign_page"


def test_several_host_headers_are_refused(shared_web: Web) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared_web.port)
    connection.putrequest("GET", "/api/openapi", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in {400, 403}
    connection.close()


def ended_web(folder: Path, **settings: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deployments.cli", "web"]
    environment = environment_of({"OBM_PORT": free_port()}, settings)
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what must be refused
def test_a_server_that_others_reach_wants_a_token_first(tmp_path: Path, host: str) -> None:
    ended = ended_web(tmp_path, OBM_HOST=host)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "obm token create" in ended.stderr


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"OBM_HOST": "203.0.113.7"}, "203.0.113.7"),
        ({"OBM_HOST": "no.such.host.invalid"}, "no.such.host.invalid"),
        ({"OBM_DATA_DIR": "/proc/nothing"}, "/proc/nothing"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    tmp_path: Path, settings: dict[str, str], word: str
) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    create_token(directory, name="x", scopes=[Scope.READ])
    ended = ended_web(tmp_path, **settings)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert word in ended.stderr


def test_a_port_in_use_is_a_sentence(shared_web: Web, tmp_path: Path) -> None:
    ended = ended_web(tmp_path, OBM_PORT=shared_web.port)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert str(shared_web.port) in ended.stderr


def test_no_log_and_no_file_holds_a_secret(start_web: StartWeb, tokens: dict[str, str]) -> None:
    web = start_web()
    ask(web, BRING, **bearer(tokens["submit"]))
    secrets = [token.split("_", 2)[2] for token in tokens.values()]
    web.stop()
    kept = web.log.read_text() + web.directory.tokens.read_text()
    assert not any(secret in kept for secret in secrets)
    assert web.directory.tokens.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(web.directory.tokens.read_text())["tokens"]) == 3
