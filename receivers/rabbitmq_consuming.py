"""Consuming on one connection: gather, store, answer, until something ends it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from batching.errors import BatchManagerError
from batching.requests import ReadingRules
from receivers.rabbitmq_storing import Delivery, Group, Storing

PREFETCH: Final = 1_000
GROUP_MESSAGES: Final = 500
GROUP_BYTES: Final = 8_000_000
"""Large messages are stored in smaller groups, so that few of them are in memory at a time."""
GROUP_SECONDS: Final = 0.1
LULL_SECONDS: Final = 0.01
"""When nothing comes for so long, what is there is stored."""
LOOK_SECONDS: Final = 0.25
_TICK_SECONDS: Final = 1.0
_ASK_SECONDS: Final = 10.0


class ConsumingEnded(BatchManagerError):
    """The broker has ended the consumer: its queue was deleted, or moved away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What consuming needs beside the connection."""

    queue: str
    storing: Storing
    rules: Callable[[], ReadingRules]
    """How requests are read, as the installation is set up now."""
    largest_bytes: int
    is_paused: Callable[[], bool]
    """Whether an operator keeps new requests out."""
    tick: Callable[["Consuming"], None]
    """Called about each second."""
    answered: Callable[[], None]
    """Called when the broker has said something."""


class Consuming:
    """One channel with at most one consumer on it."""

    def __init__(self, connection: Any, surroundings: Surroundings) -> None:
        self._connection = connection
        self._surroundings = surroundings
        self._storing = surroundings.storing
        self._channel = connection.channel()
        self._channel.basic_qos(prefetch_count=PREFETCH)
        self._channel.add_on_cancel_callback(self._cancelled)
        self._consumer_tag: str | None = None
        self._gathered: list[Delivery] = []
        self._gathered_bytes = 0
        self._gathered_since = 0.0
        self._held: Group | None = None
        """What could not be stored; the broker counts it as ours until it is."""
        self._was_cancelled = False
        self._tick_at = 0.0
        self._heard_at = time.monotonic()
        self.is_paused = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Consume until it is asked to stop; everything taken is stored and answered then.

        Raises what pika raises when the broker goes away, and ConsumingEnded.
        """
        while not should_stop():
            self._tick_if_due()
            self._consume_or_not()
            count = len(self._gathered)
            self._receive()
            if self._gathered and self._is_complete(count):
                self._settle()
            self._retry_held()
        self._settle()

    def _consume_or_not(self) -> None:
        wanted = not self.is_paused and self._held is None
        if wanted and self._consumer_tag is None:
            queue = self._surroundings.queue
            self._consumer_tag = self._channel.basic_consume(queue, self._take)
        elif not wanted and self._consumer_tag is not None:
            # The broker gets back what was not looked at; what is gathered stays ours.
            consumer_tag, self._consumer_tag = self._consumer_tag, None
            self._channel.basic_cancel(consumer_tag)

    def _receive(self) -> None:
        # Of all ways to process events only this one raises why the broker closed the channel.
        self._channel._process_data_events(  # noqa: SLF001 - see above
            time_limit=LULL_SECONDS if self._gathered else LOOK_SECONDS
        )
        if self._was_cancelled:
            raise ConsumingEnded(
                f"the broker ended the consumer of {self._surroundings.queue!r}: "
                "was the queue deleted?"
            )

    def _take(self, _channel: object, method: Any, properties: Any, body: bytes) -> None:
        if not self._gathered:
            self._gathered_since = time.monotonic()
        self._gathered.append(Delivery(method, properties, body))
        self._gathered_bytes += len(body)

    def _is_complete(self, count_before: int) -> bool:
        return (
            len(self._gathered) >= GROUP_MESSAGES
            or len(self._gathered) == count_before
            or self._gathered_bytes >= GROUP_BYTES
            or time.monotonic() - self._gathered_since >= GROUP_SECONDS
        )

    def _settle(self) -> None:
        """Store what is gathered and answer it; hold it if that cannot be."""
        if not self._gathered or self._held is not None:
            return
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._heard()
        group = Group(
            gathered,
            queue=self._surroundings.queue,
            rules=self._surroundings.rules(),
            largest_bytes=self._surroundings.largest_bytes,
        )
        self._store(group)

    def _retry_held(self) -> None:
        if self._held is not None and self._storing.may_try:
            self._store(self._held)

    def _store(self, group: Group) -> None:
        if not self._storing.store(group):
            self._held = group
            return
        self._held = None
        group.answer(self._channel)

    def _tick_if_due(self) -> None:
        if (now := time.monotonic()) < self._tick_at:
            return
        self._tick_at = now + _TICK_SECONDS
        was_paused, self.is_paused = self.is_paused, self._surroundings.is_paused()
        if self.is_paused and not was_paused:
            self._settle()
        if now - self._heard_at >= _ASK_SECONDS:
            self._channel.queue_declare(self._surroundings.queue, passive=True)
            self._heard()
        self._surroundings.tick(self)

    def _heard(self) -> None:
        self._heard_at = time.monotonic()
        self._surroundings.answered()

    def _cancelled(self, _frame: object) -> None:
        self._was_cancelled = True
