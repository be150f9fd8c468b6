"""Clients that hold connections open, slowly or in great number, keep nobody else waiting."""

import socket
import time
from contextlib import ExitStack, suppress
from uuid import uuid4

import pytest
from web_process import StartWeb, Web, request_line

from batching.access import Scope
from storage.access_tokens import create_token
from storage.directory import DataDirectory

HEAD = b"POST /api/requests HTTP/1.1\r\nHost: localhost\r\n"
PATIENCE_SECONDS = 15


def connected(web: Web) -> socket.socket:
    return socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE_SECONDS)


def test_a_head_that_trickles_in_for_ever_is_cut_off(shared_web: Web) -> None:
    with connected(shared_web) as slow:
        slow.sendall(HEAD)
        assert not takes_headers(slow, PATIENCE_SECONDS * 10)


def takes_headers(connection: socket.socket, count: int) -> bool:
    """Send so many headers, ten a second; return whether the other side still listened."""
    try:
        for number in range(count):
            connection.sendall(b"X-%d: a\r\n" % number)
            time.sleep(0.1)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "path", ["/api/requests", "/api/requests/bulk", "/api/files?name=slow.jsonl"]
)
def test_a_body_that_trickles_in_for_ever_gives_its_place_up(
    start_web: StartWeb, path: str
) -> None:
    web = start_web(OBM_RECEIVE_TIMEOUT=1)
    with connected(web) as slow:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        slow.sendall(head.encode())
        slow.settimeout(0.1)
        assert b" 408 " in answer_to_trickle(slow, PATIENCE_SECONDS * 10)


def answer_to_trickle(connection: socket.socket, count: int) -> bytes:
    """Send so many spaces, ten a second; return what is answered meanwhile."""
    for _ in range(count):
        connection.sendall(b" ")
        with suppress(TimeoutError):
            return connection.recv(4_096)
    return b""


def test_hundreds_of_unfinished_requests_do_not_hold_up_the_others(shared_web: Web) -> None:
    with ExitStack() as open_connections:
        for number in range(400):
            slow = open_connections.enter_context(connected(shared_web))
            end = b"Content-Length: 1000\r\n\r\n{" if number % 2 else b"X-Unfinished: "
            slow.sendall(HEAD + end)
        sent = [
            shared_web.client.post("/api/requests", json=request_line(uuid4().hex), timeout=5)
            for _ in range(20)
        ]
    assert {answer.status_code for answer in sent} == {202}


def test_who_has_no_token_is_refused_before_a_body_is_read(
    start_web: StartWeb, directory: DataDirectory
) -> None:
    create_token(directory, name="somebody", scopes=[Scope.SUBMIT])
    web = start_web(directory.root, OBM_RECEIVE_TIMEOUT=60)
    with connected(web) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n{")
        assert b" 401 " in slow.recv(4_096)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
@pytest.mark.parametrize("path", ["/api/requests/bulk", "/api/deliveries/redeliver"])
def test_what_is_no_object_is_refused_wherever_one_is_wanted(
    shared_web: Web, path: str, body: bytes
) -> None:
    before = shared_web.inbox_names()
    answer = shared_web.client.post(path, content=body)
    assert answer.status_code == 422, answer.text
    assert shared_web.inbox_names() == before
