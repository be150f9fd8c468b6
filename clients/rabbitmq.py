"""Publishing to RabbitMQ: each message is answered with what became of it."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

from pika.adapters.select_connection import IOLoop

from batching.deliveries import Outcome, Reply
from batching.push_options import RabbitMQRoute
from clients.rabbitmq_addresses import Address, masked
from clients.rabbitmq_bursts import Burst
from clients.rabbitmq_messages import Outgoing
from clients.rabbitmq_sender import Sender

__all__ = ["Outgoing", "RabbitMQPublisher", "masked"]

CLOSE_SECONDS = 2.0

_LOG = logging.getLogger(__name__)


class RabbitMQPublisher:
    """Publishes from a thread of its own, over one connection; can be used by any thread.

    It connects when there is something to send. A message counts as delivered when the broker
    has confirmed it and did not return it; after a broken connection the unconfirmed ones are
    sent again, so a receiver may see the same message id twice.
    """

    def __init__(
        self, url: str, *, window: int = 5_000, answer_timeout_seconds: float = 30.0
    ) -> None:
        address = Address.of(url)  # a fault in it is found before anything is opened
        self._loop = IOLoop()
        self._sender = Sender(
            address, self._loop, window=window, answer_timeout_seconds=answer_timeout_seconds
        )
        self._lock = threading.Lock()
        self._arrived: list[Burst] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="rabbitmq-publisher", daemon=True)
        self._thread.start()

    def publish(self, route: RabbitMQRoute, messages: Sequence[Outgoing]) -> Future[list[Reply]]:
        """Publish the messages and return one reply for each, in order, as a future."""
        burst = Burst(route, messages)
        if burst.is_done:
            return burst.future
        with self._lock:
            is_first, is_closed = not self._arrived, self._is_closed
            if not is_closed:
                self._arrived.append(burst)
                if is_first:
                    self._loop.add_callback_threadsafe(self._take)
        if is_closed:
            burst.fail_unsent(Outcome.CONNECTION_ERROR, "the publisher is closed")
        return burst.future

    def close(self) -> None:
        """End within two seconds; what is unanswered then counts as a connection error."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            if not was_closed:
                self._loop.add_callback_threadsafe(self._end)
        if threading.current_thread() is not self._thread:  # it may be a future's callback
            self._thread.join(CLOSE_SECONDS)

    @property
    def last_answer_at(self) -> datetime | None:
        """When the broker answered last."""
        at = self._sender.answered_at
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no messages because it is short of memory or disk."""
        return self._sender.link.blocked is not None

    def _take(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for burst in arrived:
            self._sender.take(burst)

    def _end(self) -> None:
        self._take()
        self._sender.end()

    def _run(self) -> None:
        while True:
            try:
                self._loop.start()
            except Exception as error:  # noqa: BLE001 - futures must never stay open
                _LOG.exception("The RabbitMQ publisher starts over after a fault")
                self._sender.start_over(f"fault in the publisher: {type(error).__name__}")
            else:
                break
        self._loop.close()
