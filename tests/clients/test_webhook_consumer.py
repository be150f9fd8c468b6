"""The example of a consumer, called as the product calls it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from batching.deliveries import Message, Outcome, Reply
from batching.push_options import WebhookOptions
from clients.addresses import AddressGuard
from clients.signatures import Signer
from clients.webhooks import WebhookSender

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).parents[2] / "examples" / "webhook_consumer.py"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example


class RunningConsumer:
    """The example in a process of its own."""

    def __init__(self, database: Path) -> None:
        command = [sys.executable, str(PROGRAM), "--port", "0", "--database", str(database)]
        self._process = subprocess.Popen(
            [*command, "--secret", SECRET, "--secret", "in plain words"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._printed = ""
        self.url = self._process.stdout.readline().split()[-1]

    def stop(self) -> list[str]:
        """Return the custom ids of what it printed."""
        if self._process.poll() is None:
            self._process.terminate()
            self._printed, _ = self._process.communicate()
        return [json.loads(line)["custom_id"] for line in self._printed.splitlines()]


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[RunningConsumer]:
    running = RunningConsumer(tmp_path / "received.sqlite")
    yield running
    running.stop()


def messages(*numbers: int) -> list[Message]:
    return [
        Message(
            delivery_id=number,
            key=f"obm-{number}",
            request_id=f"request-{number}",
            custom_id=f"row-{number}",
            payload=json.dumps({"custom_id": f"row-{number}"}).encode(),
        )
        for number in numbers
    ]


def sent(url: str, *numbers: int, secret: str = SECRET, gzip: bool | None = None) -> list[Reply]:
    """Send the results one by one, or in one POST where it is said whether to compress it."""
    options = WebhookOptions(secrets=(secret,), gzip=bool(gzip))

    async def send() -> list[Reply]:
        sender = WebhookSender(options, guard=AddressGuard("127.0.0.1"))
        if gzip is None:
            replies = [await sender.send(url, each) for each in messages(*numbers)]
        else:
            replies = await sender.send_batch(url, messages(*numbers))
        await sender.aclose()
        return replies

    return asyncio.run(send())


def test_the_consumer_takes_every_result_once(consumer: RunningConsumer) -> None:
    replies = sent(consumer.url, 1, 2, 2)
    replies += sent(consumer.url, 2, 3, gzip=False, secret="in plain words")  # noqa: S106 - made up
    replies += sent(consumer.url, 3, 4, gzip=True)
    assert {reply.outcome for reply in replies} == {Outcome.SUCCESS}
    assert consumer.stop() == ["row-1", "row-2", "row-3", "row-4"]


def test_the_consumer_remembers_after_a_restart(tmp_path: Path) -> None:
    for numbers, new in (((1, 2), ["row-1", "row-2"]), ((2, 3), ["row-3"])):
        running = RunningConsumer(tmp_path / "received.sqlite")
        assert all(reply.is_success for reply in sent(running.url, *numbers))
        assert running.stop() == new


def test_the_consumer_refuses_what_another_secret_signed(consumer: RunningConsumer) -> None:
    (reply,) = sent(consumer.url, 1, secret="of somebody else")  # noqa: S106 - made up
    assert (reply.outcome, reply.status_code) == (Outcome.AUTHORIZATION_ERROR, 401)
    assert consumer.stop() == []


def test_the_consumer_refuses_old_unsigned_and_changed_posts(consumer: RunningConsumer) -> None:
    now, body = int(time.time()), b'{"custom_id":"row-1"}'
    old = dict(Signer([SECRET]).headers("obm-1", now - 3_600, body))
    good = dict(Signer([SECRET]).headers("obm-1", now, body))
    for headers, content in ((old, body), ({}, body), (good, body + b" ")):
        key = {"idempotency-key": "obm-1"}
        assert httpx.post(consumer.url, headers=headers | key, content=content).status_code == 401
    assert consumer.stop() == []


def test_the_consumer_says_what_it_does_not_understand(consumer: RunningConsumer) -> None:
    headers = dict(Signer([SECRET]).headers("obm-1", int(time.time()), b"not json"))
    answer = httpx.post(consumer.url, headers=headers, content=b"not json")
    assert answer.status_code == 400


def test_a_port_in_use_is_a_sentence(consumer: RunningConsumer, tmp_path: Path) -> None:
    port = consumer.url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, str(PROGRAM), "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
