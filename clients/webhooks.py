"""Results on their way to webhooks: one POST for each, or one for many."""

import asyncio
import base64
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import httpx

from batching.deliveries import Message, Outcome, Reply
from batching.push_options import WebhookOptions
from batching.settings import Settings
from clients.addresses import AddressGuard, AddressNotAllowed
from clients.signatures import Signer
from clients.webhook_bodies import (
    Headers,
    batch_body,
    batch_headers,
    batch_key,
    own_headers,
    single_headers,
)
from clients.webhook_replies import ReplyWriter, failures_in
from clients.webhook_transport import ANSWER_BYTES, IS_CUT, GuardedTransport

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 20.0
_SINGLE_ANSWER_BYTES = 4_096
_BATCH_ANSWER_BYTES = 65_536
_BATCH_ANSWER_BYTES_EACH = 1_024


def default_sender_options(settings: Settings) -> WebhookOptions:
    """Return how webhooks are called that no named destination describes."""
    secrets = settings.webhook_secrets
    listed = secrets.get_secret_value().split(",") if secrets else []
    return WebhookOptions(
        concurrency=settings.webhook_concurrency,
        timeout_seconds=settings.webhook_timeout_seconds,
        secrets=tuple(secret.strip() for secret in listed if secret.strip()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Post:
    """One POST before it is signed."""

    key: str
    headers: Headers
    body: bytes
    answer_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A URL, read once."""

    url: httpx.URL
    place: str
    """Host and port, for people."""
    authorization: Headers
    """The header that a user and password in the URL stand for."""


class WebhookSender:
    """Sends results to one target, with so many POSTs under way as its options say."""

    def __init__(self, options: WebhookOptions, *, guard: AddressGuard) -> None:
        """Prepare; ConfigurationError if a secret or a header cannot be used."""
        self._options = options
        self._signer = Signer(options.secrets)
        self._own_headers = own_headers(options.headers)
        self._own_names = frozenset(name.lower() for name, _ in options.headers)
        self._writer = ReplyWriter(options.secrets, (value for _, value in options.headers))
        self._transport = GuardedTransport(guard, most_idle=options.concurrency)
        self._free = asyncio.Semaphore(options.concurrency)
        self._timeouts = {
            "connect": min(_CONNECT_SECONDS, options.timeout_seconds),
            "read": min(_SILENCE_SECONDS, options.timeout_seconds),
        }

    async def send(self, url: str, message: Message) -> Reply:
        """Return what became of the one POST that carries this result."""
        reply, _ = await self._send(
            url,
            _Post(
                key=message.key,
                headers=single_headers(message),
                body=message.payload,
                answer_bytes=_SINGLE_ANSWER_BYTES,
            ),
        )
        return reply

    async def send_batch(self, url: str, messages: Sequence[Message]) -> list[Reply]:
        """Return what became of each of these results, which one POST carries.

        A receiver takes them all with a 2xx status, unless it answers with the keys of those
        that it does not take: `{"failed": ["<key>", …]}` or `{"failed": [{"id": "<key>",
        "reason": "…"}, …]}`.
        """
        if not messages:
            return []
        compressed = self._options.gzip
        reply, response = await self._send(
            url,
            _Post(
                key=batch_key(messages),
                headers=batch_headers(messages, compressed=compressed),
                body=batch_body(messages, compressed=compressed),
                answer_bytes=_BATCH_ANSWER_BYTES + _BATCH_ANSWER_BYTES_EACH * len(messages),
            ),
        )
        if response is None or not reply.is_success:
            return [reply] * len(messages)
        return self._shared_out(reply, response, messages)

    async def aclose(self) -> None:
        """Close all connections; POSTs that are still under way fail."""
        await self._transport.aclose()

    async def _send(self, url: str, post: _Post) -> tuple[Reply, httpx.Response | None]:
        try:
            target = _read_url(url)
        except (httpx.InvalidURL, UnicodeError) as error:
            return self._writer.of_error(httpx.InvalidURL(str(error)), "", 0.0), None
        async with self._free:
            began = time.perf_counter()
            request = self._request(target, post)
            try:
                async with asyncio.timeout(self._options.timeout_seconds):
                    response = await self._transport.handle_async_request(request)
            except (httpx.TransportError, AddressNotAllowed, TimeoutError) as error:
                seconds = time.perf_counter() - began
                return self._writer.of_error(error, target.place, seconds), None
            seconds = time.perf_counter() - began
        writer = self._writer
        if target.authorization:
            writer = writer.knowing([value for _, value in target.authorization])
        return writer.of_response(response, seconds), response

    def _request(self, target: _Target, post: _Post) -> httpx.Request:
        headers = [*target.authorization, *post.headers]
        if self._own_names:
            headers = [each for each in headers if each[0] not in self._own_names]
        headers += self._own_headers
        headers += self._signer.headers(post.key, int(time.time()), post.body)
        return httpx.Request(
            "POST",
            target.url,
            headers=[(name.encode(), value.encode()) for name, value in headers],
            content=post.body,
            extensions={"timeout": self._timeouts, ANSWER_BYTES: post.answer_bytes},
        )

    def _shared_out(
        self, reply: Reply, response: httpx.Response, messages: Sequence[Message]
    ) -> list[Reply]:
        failed = failures_in(response, is_cut=response.extensions[IS_CUT])
        if failed is None:
            said = "The answer names results that it did not take, but it is too long to read."
            return [self._not_accepted(reply, said)] * len(messages)
        if not failed:
            return [reply] * len(messages)
        return [
            self._not_accepted(reply, failed[message.key])
            if message.key in failed
            else dataclasses.replace(reply, excerpt=None)
            for message in messages
        ]

    def _not_accepted(self, reply: Reply, reason: str | None) -> Reply:
        said = self._writer.excerpt(reason or "The receiver names it as failed, without a reason.")
        return dataclasses.replace(reply, outcome=Outcome.NOT_ACCEPTED, excerpt=said)


@lru_cache(maxsize=256)
def _read_url(text: str) -> _Target:
    url = httpx.URL(text)
    authorization: Headers = []
    if url.userinfo:
        pair = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        authorization = [("authorization", f"Basic {pair}")]
    port = f":{url.port}" if url.port else ""
    return _Target(url=url, place=f"{url.host}{port}", authorization=authorization)
