"""One exchange: its channel, and what is published on it and not yet confirmed."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from pika.exceptions import NoFreeChannels

from batching.deliveries import Outcome
from clients.rabbitmq_link import Refusal, refusal_of
from clients.rabbitmq_messages import Properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from batching.deliveries import Reply
    from batching.push_options import RabbitMQRoute
    from clients.rabbitmq_bursts import Burst
    from clients.rabbitmq_link import Link
    from clients.rabbitmq_routes import RouteQueue

NOT_FOUND = 404
ACCESS_REFUSED = 403
_NACK = "the broker refused the message (basic.nack), as a full queue does"
_Unconfirmed = tuple["RouteQueue", "Burst", int, float]


class Lane:
    """A channel of one exchange: what goes wrong with the exchange closes only this channel."""

    def __init__(self, exchange: str, link: Link, *, on_answer: Callable[[], None]) -> None:
        self._exchange = exchange
        self._link = link
        self._on_answer = on_answer
        self._channel: Any = None
        self._is_opening = False
        self._tag = 0
        self._unconfirmed: dict[int, _Unconfirmed] = {}
        self._returned: dict[tuple[str, str], tuple[int, str]] = {}
        self._suspects = 0
        self.queues: dict[RabbitMQRoute, RouteQueue] = {}
        """The routes that lead over this exchange and have something to do."""

    @property
    def is_ready(self) -> bool:
        """Whether messages can be published."""
        return self._channel is not None

    @property
    def is_careful(self) -> bool:
        """Whether messages go one at a time, to find the one that closes the channel."""
        return self._suspects > 0

    @property
    def has_unconfirmed(self) -> bool:
        """Whether an answer of the broker is awaited."""
        return bool(self._unconfirmed)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waited for."""
        return not (self._unconfirmed or self.queues or self._is_opening)

    def open(self) -> None:
        """Open the channel if there is none, once the exchange is known to be there."""
        if self._channel is not None or self._is_opening or not self._link.is_open:
            return
        self._is_opening = True
        try:
            if self._exchange:
                self._link.ask(self._look_for_exchange, self._looked)
            else:
                self._link.open_channel(self._opened)
        except NoFreeChannels:
            self._is_opening = False
            self._fail_waiting(Outcome.CONNECTION_ERROR, "too many exchanges are used at a time")

    def close(self) -> None:
        """Close the channel of an idle lane."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def send(self, queue: RouteQueue, burst: Burst, index: int, now: float) -> bool:
        """Publish one message; False if it cannot be written, which is answered."""
        message = burst.messages[index]
        try:
            properties = Properties(message)
        except (ValueError, UnicodeError) as error:
            burst.fail(index, Outcome.OTHER, f"message {message.key[:60]} cannot be sent: {error}")
            return False
        self._channel.basic_publish(
            self._exchange, burst.route.routing_key, message.body, properties, mandatory=True
        )
        self._tag += 1
        self._unconfirmed[self._tag] = (queue, burst, index, now)
        return True

    def expire(self, sent_before: float, excerpt: str) -> None:
        """Give up what was sent before this moment; a later confirm of it is ignored."""
        late = []
        for tag, (_, _, _, at) in self._unconfirmed.items():
            if at > sent_before:
                break
            late.append(tag)
        for tag in late:
            queue, burst, index, _ = self._unconfirmed.pop(tag)
            queue.settled(burst, index)
            burst.fail(index, Outcome.TIMEOUT, excerpt)

    def _look_for_exchange(self, channel: Any, agreed: Callable[[object], None]) -> None:
        channel.exchange_declare(self._exchange, passive=True, callback=agreed)

    def _looked(self, refusal: Refusal | None) -> None:
        if refusal is None and self._link.is_open:
            self._link.open_channel(self._opened)
        elif refusal is not None:
            self._is_opening = False
            self._fail_waiting(*_outcome_of(refusal))

    def _opened(self, channel: Any) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._took_back)
        channel.confirm_delivery(self._answered, partial(self._begin, channel))

    def _begin(self, channel: Any, _frame: object) -> None:
        self._is_opening = False
        self._channel = channel
        self._tag = 0
        for queue in list(self.queues.values()):
            queue.refill()

    def _took_back(self, _channel: object, method: Any, properties: Any, _body: bytes) -> None:
        # The broker's acknowledgement of this message follows. Two messages with one id may be
        # under way: then both count as returned, so that neither is taken for delivered.
        key = (str(properties.message_id), str(method.routing_key))
        self._returned[key] = (self._tag, f"{method.reply_code} {method.reply_text}")

    def _answered(self, frame: Any) -> None:
        self._on_answer()
        method = frame.method
        is_ack = method.NAME == "Basic.Ack"
        now = time.monotonic()
        shared: dict[Burst, Reply] = {}
        touched: dict[RouteQueue, None] = {}
        for tag in self._tags(method.delivery_tag, multiple=method.multiple):
            entry = self._unconfirmed.pop(tag, None)
            if entry is None:  # it was given up
                continue
            queue, burst, index, _ = entry
            queue.settled(burst, index)
            touched[queue] = None
            if not is_ack:
                burst.fail(index, Outcome.REFUSED_BY_BROKER, _NACK)
            elif self._returned and (text := self._why_returned(burst, index, tag)):
                queue.came_back()
                burst.fail(index, Outcome.QUEUE_NOT_FOUND, text)
            else:
                reply = shared.get(burst)
                if reply is None:
                    reply = shared[burst] = burst.success(now)
                burst.answer(index, reply)
            self._suspects = max(0, self._suspects - 1)
        if not self._unconfirmed:
            self._returned.clear()
        for queue in touched:
            queue.progress(now)

    def _tags(self, last: int, *, multiple: bool) -> list[int]:
        if not multiple:
            return [last]
        tags = []
        for tag in self._unconfirmed:
            if tag > last:
                break
            tags.append(tag)
        return tags

    def _why_returned(self, burst: Burst, index: int, tag: int) -> str | None:
        key = (burst.messages[index].key, burst.route.routing_key)
        last, text = self._returned.get(key, (0, ""))
        return text if tag <= last else None

    def disconnect(self) -> None:
        """Take everything back that is unconfirmed: the connection is gone."""
        self._is_opening = False
        self._suspects = 0
        self._send_again(self._without_channel())

    def _closed(self, _channel: object, reason: BaseException) -> None:
        refusal = refusal_of(reason)
        if refusal is None:  # it was closed here, or with the connection
            return
        self._is_opening = False
        unconfirmed = self._without_channel()
        if refusal.code in {NOT_FOUND, ACCESS_REFUSED} or not unconfirmed:
            self._fail(unconfirmed, *_outcome_of(refusal))
            self._fail_waiting(*_outcome_of(refusal))
        elif len(unconfirmed) == 1:
            self._suspects = max(0, self._suspects - 1)
            self._fail(unconfirmed, Outcome.OTHER, str(refusal))
        else:
            self._suspects = len(unconfirmed)
            self._send_again(unconfirmed)
        if self.queues:
            self.open()

    def _without_channel(self) -> dict[int, _Unconfirmed]:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self._channel = None
        self._returned.clear()
        return unconfirmed

    def _send_again(self, unconfirmed: dict[int, _Unconfirmed]) -> None:
        for queue, burst, index, _ in unconfirmed.values():
            queue.put_back(burst, index)

    def _fail(self, unconfirmed: dict[int, _Unconfirmed], outcome: Outcome, excerpt: str) -> None:
        for queue, burst, index, _ in unconfirmed.values():
            queue.settled(burst, index)
            burst.fail(index, outcome, excerpt)

    def _fail_waiting(self, outcome: Outcome, excerpt: str) -> None:
        for queue in list(self.queues.values()):
            queue.fail_waiting(outcome, excerpt)


def _outcome_of(refusal: Refusal) -> tuple[Outcome, str]:
    known = {
        NOT_FOUND: Outcome.EXCHANGE_NOT_FOUND,
        ACCESS_REFUSED: Outcome.AUTHORIZATION_ERROR,
    }
    return known.get(refusal.code, Outcome.OTHER), str(refusal)
