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
        from clients.rabbitmq_messages import Outgoing  # noqa: PLC0415 - imports pika

        most = self._most_results
        bundles = [errands[first : first + most] for first in range(0, len(errands), most)]
        outgoing = [
            Outgoing(
                key=errand.message.key,
                body=errand.message.payload,
                request_id=errand.message.request_id,
                custom_id=errand.message.custom_id,
            )
            if most == 1
            else _bundled(bundle)
            for bundle in bundles
            for errand in bundle[:1]
        ]
        replies = await asyncio.wrap_future(self._publisher.publish(self._route, outgoing))
        pairs = zip(bundles, replies, strict=True)
        return [reply for bundle, reply in pairs for _ in bundle]

    async def close(self) -> None:
        """Leave the publisher open: all targets share it."""


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
