"""What waits for one routing key, and how much of the window it may fill."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from batching.deliveries import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from batching.push_options import RabbitMQRoute
    from clients.rabbitmq_bursts import Burst
    from clients.rabbitmq_lanes import Lane
    from clients.rabbitmq_link import Link, Refusal

MOST_UNCONFIRMED_BYTES = 64_000_000
ACCESS_REFUSED = 403
_EXISTS = {405, 406}
"""The queue is there, exclusive to somebody or with other arguments: it is left as it is."""


class Window:
    """How many messages may be unconfirmed, shared evenly between the routes that are busy."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.busy = 0
        self.declared: set[str] = set()
        """The queues that are known to be there, on this connection."""

    @property
    def messages_each(self) -> int:
        """Messages of one route that may be unconfirmed."""
        return max(1, self._size // max(1, self.busy))

    @property
    def bytes_each(self) -> int:
        """The same in bytes; one message may always be under way."""
        return max(1, MOST_UNCONFIRMED_BYTES // max(1, self.busy))


class RouteQueue:
    """The bursts that wait for one routing key on one exchange."""

    def __init__(
        self,
        route: RabbitMQRoute,
        lane: Lane,
        link: Link,
        window: Window,
        *,
        on_idle: Callable[[RouteQueue], None],
    ) -> None:
        self.route = route
        self._lane, self._link, self._window = lane, link, window
        self._on_idle = on_idle
        self._waiting: deque[Burst] = deque()
        self._unconfirmed = 0
        self._unconfirmed_bytes = 0
        self._is_declaring = False
        self._progress_at = 0.0

    @property
    def waiting(self) -> tuple[Burst, ...]:
        """The bursts of which something is still to be sent."""
        return tuple(self._waiting)

    def add(self, burst: Burst) -> None:
        """Let a burst wait for its turn."""
        self._waiting.append(burst)

    def settled(self, burst: Burst, index: int) -> None:
        """Count one message less as unconfirmed."""
        self._unconfirmed -= 1
        self._unconfirmed_bytes -= len(burst.messages[index].body)

    def put_back(self, burst: Burst, index: int) -> None:
        """Let a message be sent again, before all others."""
        self.settled(burst, index)
        burst.put_back(index)
        if burst not in self._waiting:
            self._waiting.appendleft(burst)

    def progress(self, now: float) -> None:
        """Go on: something was confirmed."""
        self._progress_at = now
        self.refill()

    def came_back(self) -> None:
        """Declare the queue again before the next burst: it may have been deleted."""
        self._window.declared.discard(self.route.routing_key)

    def fail_waiting(self, outcome: Outcome, excerpt: str) -> None:
        """Answer all that waits to be sent with the same failure."""
        waiting, self._waiting = self._waiting, deque()
        for burst in waiting:
            burst.fail_unsent(outcome, excerpt)
        self._tell_if_idle()

    def expire(self, last_arrival: float, outcome: Outcome, excerpt: str) -> None:
        """Give up the waiting bursts that arrived until then, unless something got through."""
        if self._progress_at <= last_arrival:
            self.give_up(lambda burst: burst.arrived <= last_arrival, outcome, excerpt)

    def give_up(self, is_late: Callable[[Burst], bool], outcome: Outcome, excerpt: str) -> None:
        """Answer the waiting bursts that are late with a failure."""
        for burst in [burst for burst in self._waiting if is_late(burst)]:
            self._waiting.remove(burst)
            burst.fail_unsent(outcome, excerpt)
        self._tell_if_idle()

    def refill(self) -> None:
        """Send what the window allows, once half of it is free."""
        if self._waiting and self._may_send():
            most = 1 if self._lane.is_careful else self._window.messages_each
            most_bytes = self._window.bytes_each
            if 2 * self._unconfirmed <= most and 2 * self._unconfirmed_bytes <= most_bytes:
                with self._link.corked():
                    self._fill(most, most_bytes)
        self._tell_if_idle()

    def _may_send(self) -> bool:
        if not self._link.takes_messages or not self._lane.is_ready or self._is_declaring:
            return False
        if self._is_to_be_declared and self.route.routing_key not in self._window.declared:
            self._declare()
            return False
        return True

    @property
    def _is_to_be_declared(self) -> bool:
        return self.route.declare and not self.route.exchange

    def _fill(self, most: int, most_bytes: int) -> None:
        now = time.monotonic()
        send = self._lane.send
        while self._waiting and self._unconfirmed < most and self._unconfirmed_bytes < most_bytes:
            burst = self._waiting[0]
            index = burst.take()
            if index is None:
                self._waiting.popleft()
            elif send(self, burst, index, now):
                self._unconfirmed += 1
                self._unconfirmed_bytes += len(burst.messages[index].body)

    def _declare(self) -> None:
        self._is_declaring = True
        self._link.ask(self._ask_for_queue, self._declared)

    def _ask_for_queue(self, channel: Any, agreed: Callable[[object], None]) -> None:
        channel.queue_declare(
            self.route.routing_key,
            durable=True,
            arguments={"x-queue-type": "quorum"},
            callback=agreed,
        )

    def _declared(self, refusal: Refusal | None) -> None:
        self._is_declaring = False
        if refusal is None or refusal.code in _EXISTS:
            self._window.declared.add(self.route.routing_key)
            self.refill()
        elif refusal.code == ACCESS_REFUSED:
            self.fail_waiting(Outcome.AUTHORIZATION_ERROR, str(refusal))
        else:
            self.fail_waiting(Outcome.OTHER, str(refusal))

    def disconnect(self) -> None:
        """Forget the question that the lost connection carried."""
        self._is_declaring = False

    def _tell_if_idle(self) -> None:
        if not self._waiting and not self._unconfirmed:
            self._on_idle(self)
