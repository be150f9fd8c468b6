"""Ways to a target: single webhooks, webhooks in batches, messages for RabbitMQ."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from batching.deliveries import Message, Reply
from batching.push_options import RabbitMQOptions, RabbitMQRoute, WebhookOptions

if TYPE_CHECKING:
    from clients.rabbitmq import RabbitMQPublisher
    from clients.rabbitmq_messages import Outgoing
    from clients.webhooks import WebhookSender

_MESSAGES_A_BURST = 500
_BURSTS_UNDER_WAY = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """A message with its destination and what was tried before."""

    message: Message
    destination_id: int
    url: str
    """Where webhooks go; nothing for others."""
    attempts: int


class WebhookSingles:
    """One POST a result."""

    is_broker: ClassVar = False
    load_size: ClassVar = 1

    def __init__(self, sender: "WebhookSender", options: WebhookOptions) -> None:
        self._sender = sender
        self.concurrency = options.concurrency
        self.rate_per_second = options.rate_per_second
        self.final_statuses = options.final_statuses
        self.fill_seconds = 0.0

    async def send(self, errands: Sequence[Errand]) -> list[Reply]:
        """Return what became of the one errand."""
        return [await self._sender.send(errand.url, errand.message) for errand in errands]

    async def close(self) -> None:
        """Close all connections."""
        await self._sender.aclose()


class WebhookBatches:
    """One POST for many results."""

    is_broker: ClassVar = False

    def __init__(self, sender: "WebhookSender", options: WebhookOptions) -> None:
        self._sender = sender
        self.load_size = options.most_results
        self.concurrency = options.concurrency
        self.rate_per_second = options.rate_per_second
        self.final_statuses = options.final_statuses
        self.fill_seconds = options.longest_wait_seconds

    async def send(self, errands: Sequence[Errand]) -> list[Reply]:
        """Return what became of each of these, which one POST carries."""
        messages = [errand.message for errand in errands]
        return await self._sender.send_batch(errands[0].url, messages)

    async def close(self) -> None:
        """Close all connections."""
        await self._sender.aclose()


class Messages:
    """Messages for RabbitMQ: one a result, or one for several as NDJSON."""

    is_broker: ClassVar = True

    def __init__(
        self, publisher: "RabbitMQPublisher", route: RabbitMQRoute, options: RabbitMQOptions
    ) -> None:
        self._publisher = publisher
        self._route = route
        self._most_results = options.most_results
        self.load_size = max(_MESSAGES_A_BURST, options.most_results)
        self.concurrency = _BURSTS_UNDER_WAY
        self.rate_per_second: float | None = None
        self.final_statuses: frozenset[int] = frozenset()
        self.fill_seconds = 0.0

    async def send(self, errands: Sequence[Errand]) -> list[Reply]:
        """Return what became of each of these."""
        most = self._most_results
        if most == 1:
            return await self._published(_alone(errands))
        bundles = [errands[first : first + most] for first in range(0, len(errands), most)]
        replies = await self._published([_bundled(bundle) for bundle in bundles])
        pairs = zip(bundles, replies, strict=True)
        return [reply for bundle, reply in pairs for _ in bundle]

    async def _published(self, outgoing: list["Outgoing"]) -> list[Reply]:
        return await asyncio.wrap_future(self._publisher.publish(self._route, outgoing))

    async def close(self) -> None:
        """Leave the publisher open: all targets share it."""


def _alone(errands: Sequence[Errand]) -> list["Outgoing"]:
    from clients.rabbitmq_messages import Outgoing  # noqa: PLC0415 - imports pika

    return [
        Outgoing(
            key=errand.message.key,
            body=errand.message.payload,
            request_id=errand.message.request_id,
            custom_id=errand.message.custom_id,
        )
        for errand in errands
    ]


def _bundled(errands: Sequence[Errand]) -> "Outgoing":
    from clients.rabbitmq_messages import Outgoing  # noqa: PLC0415 - imports pika
    from clients.webhook_bodies import batch_body, batch_key  # noqa: PLC0415 - see above

    messages = [errand.message for errand in errands]
    return Outgoing(
        key=batch_key(messages),
        body=batch_body(messages, compressed=False),
        request_id=messages[0].request_id,
        content_type="application/x-ndjson",
    )


Channel = WebhookSingles | WebhookBatches | Messages
