"""Answers in every shape that HTTP/1.1 allows, and in some that it does not."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from typing import Any

import httpx
import pytest

from batching.deliveries import Message, Outcome, Reply
from batching.push_options import WebhookOptions
from clients.addresses import AddressGuard
from clients.webhook_transport import GuardedTransport
from clients.webhooks import WebhookSender

MESSAGE = Message(delivery_id=1, key="obm-1", request_id="r", custom_id="c", payload=b"{}")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS_BYTES = 3_000_000


def replies_to(*answers: bytes, ends: bool = False, posts: int = 1) -> tuple[list[Reply], int]:
    """Return the replies to the answers, one for each POST, and how many connections came."""
    left, connections = list(answers), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while left and await reader.read(65_536):
            writer.write(left.pop(0))
        if not ends:
            await reader.read(65_536)
        writer.close()

    async def run() -> list[Reply]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        options = WebhookOptions(timeout_seconds=2)
        sender = WebhookSender(options, guard=AddressGuard("true"))
        replies = [await sender.send(url, MESSAGE) for _ in range(posts)]
        await sender.aclose()
        server.close()
        await server.wait_closed()
        return replies

    return asyncio.run(run()), connections


def reply_to(answer: bytes, **how: Any) -> Reply:
    (reply,), _ = replies_to(answer, **how)
    return reply


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"3\r\nyes\r\n0\r\n\r\n",
        CHUNKED + b"1;x=y\r\ny\r\n2\r\nes\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\nContent-Length: 3\r\n\r\nyes",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nyes",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyesHTTP/1.1 500 No\r\n\r\n",
    ],
)
def test_an_answer_is_read_in_any_shape(answer: bytes) -> None:
    reply = reply_to(answer)
    assert (reply.outcome, reply.status_code, reply.excerpt) == (Outcome.SUCCESS, 200, "yes")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_answer_may_end_with_its_connection(head: bytes) -> None:
    reply = reply_to(head + b"yes", ends=True)
    assert (reply.outcome, reply.excerpt) == (Outcome.SUCCESS, "yes")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nyes",
        CHUNKED + b"3\r\nyes\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"",
    ],
)
def test_an_answer_that_is_cut_short_is_no_success(answer: bytes) -> None:
    assert reply_to(answer, ends=True).outcome is Outcome.CONNECTION_ERROR


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x01", b"HTTP/1.1 20 Q\r\n\r\n"]
)
def test_what_is_no_http_is_told_as_such(answer: bytes) -> None:
    reply = reply_to(answer)
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert "not HTTP/1.1" in (reply.excerpt or "")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n" + b"x" * ENDLESS_BYTES,
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * (ENDLESS_BYTES // 6),
        b"HTTP/1.1 500 No\r\n\r\n" + b"x" * ENDLESS_BYTES,
    ],
)
def test_of_a_long_answer_only_the_beginning_is_read(answer: bytes) -> None:
    reply = reply_to(answer)
    assert (reply.status_code, reply.excerpt) == (500, "x" * 1_024)


def test_a_head_without_end_is_given_up() -> None:
    reply = reply_to(b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 100_000)
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert "head" in (reply.excerpt or "")


def test_a_compressed_answer_is_read_no_further_than_a_plain_one() -> None:
    packed = gzip.compress(b"yes " * 1_000_000)
    head = b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    reply = reply_to(head + packed)
    assert (reply.excerpt or "").startswith("yes yes")


@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
def test_a_compressed_answer_that_cannot_be_read_has_its_status(encoding: bytes) -> None:
    head = b"HTTP/1.1 500 No\r\nContent-Encoding: %b\r\nContent-Length: 3\r\n\r\n" % encoding
    reply = reply_to(head + b"\xff\xfe\xfd")
    assert (reply.status_code, reply.excerpt) == (500, None)


def test_a_switch_to_another_protocol_is_no_success() -> None:
    answer = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    reply = reply_to(answer)
    assert (reply.outcome, reply.status_code) == (Outcome.HTTP_STATUS_NOT_2XX, 101)


def test_what_follows_an_answer_is_never_the_next_answer() -> None:
    smuggled = b"HTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n"
    replies, connections = replies_to(OK + smuggled, OK, posts=2)
    assert [reply.status_code for reply in replies] == [200, 200]
    assert connections == 2


def test_an_orderly_receiver_is_called_over_one_connection() -> None:
    replies, connections = replies_to(OK, OK, OK, posts=3)
    assert [reply.excerpt for reply in replies] == ["ok"] * 3
    assert connections == 1


def test_after_a_farewell_the_connection_is_not_used_again() -> None:
    farewell = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    _, connections = replies_to(farewell, OK, posts=2)
    assert connections == 2


def test_what_was_answered_in_part_is_not_sent_again_over_another_connection() -> None:
    replies, connections = replies_to(OK, b"HTTP/1.1 200 OK\r\nContent-Le", ends=True, posts=2)
    assert [reply.outcome for reply in replies] == [Outcome.SUCCESS, Outcome.CONNECTION_ERROR]
    assert connections == 1


def test_what_is_left_of_a_body_never_becomes_the_next_request() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(1_000)
        writer.write(OK)
        await over.wait()
        writer.close()

    async def run() -> list[Reply]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        sender = WebhookSender(WebhookOptions(timeout_seconds=5), guard=AddressGuard("true"))
        large = replace(MESSAGE, payload=b"x" * 20_000_000)
        replies = [await sender.send(url, each) for each in (large, MESSAGE)]
        over.set()
        await sender.aclose()
        server.close()
        await server.wait_closed()
        return replies

    over = asyncio.Event()
    assert [reply.status_code for reply in asyncio.run(run())] == [200, 200]
    assert connections == 2


def test_a_receiver_that_falls_silent_is_given_up_but_not_one_that_is_slow() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow = b"/slow" in await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10 if slow else 1):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        await reader.read(65_536)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = GuardedTransport(AddressGuard("true"), most_idle=1)
        patience = {"timeout": {"connect": 5, "read": 0.3}}
        slow = httpx.Request("POST", f"{url}/slow", extensions=patience)
        assert (await transport.handle_async_request(slow)).content == b"x" * 10
        silent = httpx.Request("POST", f"{url}/silent", extensions=patience)
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(silent)
        await transport.aclose()
        server.close()
        await server.wait_closed()

    asyncio.run(run())
