"""The queue that is consumed: found as it is, or made when the settings ask for it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pika.exceptions import ChannelClosedByBroker

from receivers.rabbitmq_source import Source

DEAD_LETTERS: Final = "obm.intake.dead"
"""Our exchange and queue for what was rejected, or delivered too often."""
MOST_DELIVERIES: Final = 50
"""A message that so many consumers died of is put aside; each prefetched one counts."""
_NOT_FOUND: Final = 404
_QUORUM: Final = MappingProxyType({"x-queue-type": "quorum"})
_OWN_QUEUE: Final = MappingProxyType(
    {
        **_QUORUM,
        "x-delivery-limit": MOST_DELIVERIES,
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # without it the broker would not keep that strategy
    }
)


def prepare(connection: Any, source: Source) -> None:
    """Return when the queue is there; the broker's objection is raised as it comes.

    What exists is left alone: only what is missing is declared, and an exchange never.
    """
    if source.exchange is not None:
        _prepare_binding(connection, source, source.exchange)
    elif not source.is_declared:
        _look_at(connection, source.queue)
    else:
        _ensure_queue(connection, source.queue, _QUORUM)


def _prepare_binding(connection: Any, source: Source, exchange: str) -> None:
    channel = connection.channel()
    channel.exchange_declare(exchange, passive=True)
    channel.exchange_declare(DEAD_LETTERS, "fanout", durable=True)
    _ensure_queue(connection, DEAD_LETTERS, _QUORUM)
    channel.queue_bind(DEAD_LETTERS, DEAD_LETTERS)
    _ensure_queue(connection, source.queue, _OWN_QUEUE)
    channel.queue_bind(source.queue, exchange, source.routing_key)
    channel.close()


def _ensure_queue(connection: Any, name: str, arguments: Mapping[str, object]) -> None:
    try:
        _look_at(connection, name)
    except ChannelClosedByBroker as error:
        if error.reply_code != _NOT_FOUND:
            raise
        channel = connection.channel()
        channel.queue_declare(name, durable=True, arguments=dict(arguments))
        channel.close()


def _look_at(connection: Any, queue: str) -> None:
    channel = connection.channel()  # of its own: a missing queue closes it
    channel.queue_declare(queue, passive=True)
    channel.close()
