"""What the publishing thread does: routes, deadlines, the end."""

import logging
import time
from typing import Any

from batching.deliveries import Outcome
from batching.push_options import RabbitMQRoute
from clients.rabbitmq_addresses import Address
from clients.rabbitmq_bursts import Burst
from clients.rabbitmq_lanes import ACCESS_REFUSED, Lane
from clients.rabbitmq_link import Link, Refusal
from clients.rabbitmq_messages import is_a_name
from clients.rabbitmq_routes import RouteQueue, Window

REACH_SECONDS = 5.0
"""How long messages wait for a broker that cannot be reached."""
LAST_CONFIRMS_SECONDS = 1.0
FAREWELL_SECONDS = 0.5
MOST_IDLE_LANES = 100
_LOOK_SECONDS = 0.2
_LOOK_AT_END_SECONDS = 0.01

_LOG = logging.getLogger(__name__)


class Sender:
    """Everything about publishing that happens within one thread."""

    def __init__(
        self, address: Address, loop: Any, *, window: int, answer_timeout_seconds: float
    ) -> None:
        self._loop = loop
        self._answer_timeout_seconds = answer_timeout_seconds
        self._window = Window(window)
        self.link = Link(
            address, loop, on_open=self._opened, on_lost=self._lost, on_unblocked=self._refill
        )
        self._lanes: dict[str, Lane] = {}
        self._queues: dict[RabbitMQRoute, RouteQueue] = {}
        self._is_looking = False
        self._is_ending = False
        self._was_open = False
        self._lost_at: float | None = None
        self._last_refusal = "no answer yet"
        self.answered_at: float | None = None
        """When the broker answered last, as a time stamp."""

    def take(self, burst: Burst) -> None:
        """Publish a burst as soon as that is possible."""
        if self._is_ending:
            burst.fail_unsent(Outcome.CONNECTION_ERROR, "the publisher is closed")
        elif not is_a_name(burst.route.exchange):
            burst.fail_unsent(Outcome.EXCHANGE_NOT_FOUND, "no exchange has so long a name")
        elif not is_a_name(burst.route.routing_key):
            burst.fail_unsent(Outcome.QUEUE_NOT_FOUND, "no queue has so long a routing key")
        else:
            self._accept(burst)

    def _accept(self, burst: Burst) -> None:
        queue = self._queue_of(burst.route)
        queue.add(burst)
        if self.link.is_open:
            self._lane_of(burst.route.exchange).open()
            queue.refill()
        else:
            self.link.want()
            self.link.hurry()
        self._keep_looking()

    def _queue_of(self, route: RabbitMQRoute) -> RouteQueue:
        queue = self._queues.get(route)
        if queue is None:
            lane = self._lane_of(route.exchange)
            queue = RouteQueue(route, lane, self.link, self._window, on_idle=self._idle)
            self._queues[route] = lane.queues[route] = queue
            self._window.busy = len(self._queues)
        return queue

    def _lane_of(self, exchange: str) -> Lane:
        lane = self._lanes.get(exchange)
        if lane is None:
            if len(self._lanes) >= MOST_IDLE_LANES:
                self._close_idle_lanes()
            lane = self._lanes[exchange] = Lane(exchange, self.link, on_answer=self._heard)
        return lane

    def _close_idle_lanes(self) -> None:
        for exchange in [name for name, lane in self._lanes.items() if lane.is_idle]:
            self._lanes.pop(exchange).close()

    def _idle(self, queue: RouteQueue) -> None:
        if self._queues.get(queue.route) is queue:
            del self._queues[queue.route]
            del self._lanes[queue.route.exchange].queues[queue.route]
            self._window.busy = len(self._queues)

    def _heard(self) -> None:
        self.answered_at = time.time()
        self._lost_at = None

    def _opened(self) -> None:
        self._was_open = True
        self.answered_at = time.time()
        for lane in list(self._lanes.values()):
            if lane.queues:
                lane.open()

    def _refill(self) -> None:
        for queue in list(self._queues.values()):
            queue.refill()

    def _lost(self, refusal: Refusal) -> None:
        self._last_refusal = str(refusal)
        self._window.declared.clear()
        for lane in self._lanes.values():
            lane.disconnect()
        for queue in self._queues.values():
            queue.disconnect()
        if self._was_open:
            self._remember_loss()
        self._was_open = False
        if refusal.code == ACCESS_REFUSED:
            self._fail_waiting(Outcome.AUTHORIZATION_ERROR, str(refusal))
        self._reconnect_or_rest()

    def _remember_loss(self) -> None:
        arrivals = [burst.arrived for queue in self._queues.values() for burst in queue.waiting]
        if arrivals and (self._lost_at is None or self._lost_at < min(arrivals)):
            self._lost_at = time.monotonic()

    def _reconnect_or_rest(self) -> None:
        if self._queues:
            self.link.want()
        else:
            self.link.rest()

    def _fail_waiting(self, outcome: Outcome, excerpt: str) -> None:
        for queue in list(self._queues.values()):
            queue.fail_waiting(outcome, excerpt)

    def _keep_looking(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._is_looking = False
        if self.link.is_open:
            self._expire()
            self._refill()
        else:
            self._give_up()
            if not self._queues:
                self.link.rest()
        if self._queues:
            self._keep_looking()

    def _expire(self) -> None:
        limit = time.monotonic() - self._answer_timeout_seconds
        text = f"the broker did not confirm it within {self._answer_timeout_seconds:g} s"
        if self.link.blocked is not None:
            text += f": it is short of memory or disk and blocks publishing ({self.link.blocked})"
        for lane in self._lanes.values():
            lane.expire(limit, text)
        if self.link.opened_at <= limit:
            for queue in list(self._queues.values()):
                queue.expire(limit, Outcome.TIMEOUT, text)

    def _give_up(self) -> None:
        text = f"RabbitMQ at {self.link.shown} cannot be reached: {self._last_refusal}"
        for queue in list(self._queues.values()):
            queue.give_up(self._waited_too_long, Outcome.CONNECTION_ERROR, text)

    def _waited_too_long(self, burst: Burst) -> bool:
        limit = burst.arrived + REACH_SECONDS
        if self._lost_at is not None and burst.arrived <= self._lost_at:
            limit = max(limit, self._lost_at + self._answer_timeout_seconds)
        return time.monotonic() >= limit

    def fail_all(self, excerpt: str) -> None:
        """Answer everything, also what is sent and not confirmed, with a failure."""
        for lane in self._lanes.values():
            lane.disconnect()
        self._fail_waiting(Outcome.CONNECTION_ERROR, excerpt)

    def start_over(self, excerpt: str) -> None:
        """Answer everything with a failure and begin with a new connection."""
        self.fail_all(excerpt)
        self.link.abandon()
        self._lanes.clear()
        self._queues.clear()
        self._window.declared.clear()
        if self._is_ending:
            self._loop.stop()

    def end(self) -> None:
        """Send nothing more, wait a little for the last confirms, stop the loop."""
        self._is_ending = True
        self._fail_waiting(Outcome.CONNECTION_ERROR, "the publisher was closed before it was sent")
        self._await_confirms(time.monotonic() + LAST_CONFIRMS_SECONDS)

    def _await_confirms(self, limit: float) -> None:
        is_awaited = any(lane.has_unconfirmed for lane in self._lanes.values())
        if is_awaited and time.monotonic() < limit:
            self._loop.call_later(_LOOK_AT_END_SECONDS, lambda: self._await_confirms(limit))
            return
        self.fail_all("the publisher was closed before the broker confirmed it")
        self.link.end()
        self._await_farewell(time.monotonic() + FAREWELL_SECONDS)

    def _await_farewell(self, limit: float) -> None:
        if self.link.is_ended:
            self._loop.stop()
        elif time.monotonic() < limit:
            self._loop.call_later(_LOOK_AT_END_SECONDS, lambda: self._await_farewell(limit))
        else:
            self.link.break_off()
            self._loop.call_later(2 * _LOOK_AT_END_SECONDS, self._loop.stop)
