"""Webhooks over TLS, with a certificate of our own making."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from web_receiver import WebReceiver

from batching.deliveries import Message, Outcome, Reply
from batching.push_options import WebhookOptions
from clients.addresses import AddressGuard
from clients.webhook_transport import shared_tls
from clients.webhooks import WebhookSender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGE = Message(delivery_id=1, key="obm-1", request_id="r", custom_id="c", payload=b"{}")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(file)]
    made = subprocess.run([*command, "-out", "-"], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + made.stdout)
    return file


@pytest.fixture(scope="module")
def receiver(certificate: Path) -> Iterator[WebReceiver]:
    with WebReceiver(certificate=certificate) as running:
        yield running


@pytest.fixture
def _fresh_tls() -> Iterator[None]:
    shared_tls.cache_clear()
    yield
    shared_tls.cache_clear()


@pytest.fixture
def _trusted(_fresh_tls: None, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def sent(url: str, times: int = 1) -> list[Reply]:
    async def send() -> list[Reply]:
        guard = AddressGuard("localhost, 127.0.0.1")
        sender = WebhookSender(WebhookOptions(timeout_seconds=5), guard=guard)
        replies = [await sender.send(url, MESSAGE) for _ in range(times)]
        await sender.aclose()
        return replies

    return asyncio.run(send())


@pytest.mark.usefixtures("_trusted")
def test_a_trusted_certificate_is_called_by_its_name(receiver: WebReceiver) -> None:
    receiver.reset()
    assert all(reply.is_success for reply in sent(receiver.url(host="localhost"), times=3))
    posts = receiver.received()
    assert {post.headers["host"] for post in posts} == {f"localhost:{receiver.port}"}
    assert len({post.connection for post in posts}) == 1


@pytest.mark.usefixtures("_trusted")
def test_a_certificate_for_another_name_is_refused(receiver: WebReceiver) -> None:
    (reply,) = sent(receiver.url(host="127.0.0.1"))
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert "certificate is not valid for '127.0.0.1'" in (reply.excerpt or "")


@pytest.mark.usefixtures("_fresh_tls")
def test_a_certificate_that_nobody_vouches_for_is_refused(receiver: WebReceiver) -> None:
    (reply,) = sent(receiver.url(host="localhost"))
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert "TLS certificate is not valid: self-signed certificate" in (reply.excerpt or "")


def test_a_receiver_without_tls_cannot_be_called_over_it() -> None:
    with WebReceiver() as plain:
        (reply,) = sent(plain.url(host="localhost").replace("http:", "https:"))
    assert reply.outcome is Outcome.CONNECTION_ERROR
    assert "hung up" in (reply.excerpt or "")
