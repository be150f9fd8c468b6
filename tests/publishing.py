"""Publishing to a real broker in tests: messages, routes, and publishers that are closed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from batching.push_options import RabbitMQRoute
from clients.rabbitmq import Outgoing, RabbitMQPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from broker import Broker

    from batching.deliveries import Outcome, Reply

CLASSIC = {"x-queue-type": "classic"}
PATIENCE_SECONDS = 30


def outgoing(key: str, body: bytes = b"{}", *, custom_id: str | None = "c") -> Outgoing:
    return Outgoing(key=key, body=body, request_id=f"request-of-{key}", custom_id=custom_id)


def several(count: int, body: bytes = b"{}") -> list[Outgoing]:
    return [outgoing(f"obm-{number}", body) for number in range(count)]


def to_queue(name: str, *, declare: bool = False) -> RabbitMQRoute:
    return RabbitMQRoute(exchange="", routing_key=name, declare=declare)


def outcomes(replies: Sequence[Reply]) -> list[Outcome]:
    return [reply.outcome for reply in replies]


@pytest.fixture(name="name")
def unused_name() -> str:
    return f"obm.{uuid4().hex}"


@pytest.fixture
def queue(broker: Broker, name: str) -> Iterator[str]:
    yield broker.declare_queue(name)
    broker.delete_queue(name)


@pytest.fixture
def publisher_of(broker: Broker) -> Iterator[Callable[..., RabbitMQPublisher]]:
    made: list[RabbitMQPublisher] = []

    def make(url: str | None = None, **how: float) -> RabbitMQPublisher:
        made.append(RabbitMQPublisher(url or broker.url, **how))  # type: ignore[arg-type] # window
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()


@pytest.fixture
def publisher(publisher_of: Callable[..., RabbitMQPublisher]) -> RabbitMQPublisher:
    return publisher_of()


def publish(
    publisher: RabbitMQPublisher, route: RabbitMQRoute, messages: Sequence[Outgoing]
) -> list[Reply]:
    return publisher.publish(route, messages).result(PATIENCE_SECONDS)
