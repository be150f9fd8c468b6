"""The connection to the broker: made when it is needed, made again with growing pauses."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pika import SelectConnection
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionWrongStateError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from clients.rabbitmq_addresses import CONNECT_SECONDS, Address

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_OF_NEWCOMERS_SECONDS = 1.5
ACCESS_REFUSED = 403
PIECE_BYTES = 128 * 1_024
"""Largest piece for the socket: of one that is sent in part, pika copies the whole rest."""

_LOG = logging.getLogger(__name__)
# pika reports with stack traces, several for one refused connection, what is told here.
logging.getLogger("pika").setLevel(logging.CRITICAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """What the broker objects to; the code is AMQP's."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}" if self.code else self.text


class Link:
    """One connection, used within the thread that runs the loop."""

    def __init__(
        self,
        address: Address,
        loop: Any,
        *,
        on_open: Callable[[], None],
        on_lost: Callable[[Refusal], None],
        on_unblocked: Callable[[], None],
    ) -> None:
        self.shown = address.shown
        self._parameters = address.parameters
        self._loop = loop
        self._on_open, self._on_lost, self._on_unblocked = on_open, on_lost, on_unblocked
        self._connection: Any = None
        self._timer: Any = None
        self._try_at = 0.0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._is_ending = False
        self.blocked: str | None = None
        """The broker's reason not to take messages now."""
        self.opened_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened now."""
        return self._connection is not None and self._connection.is_open

    @property
    def takes_messages(self) -> bool:
        """Whether the broker is there and takes messages now."""
        return self.is_open and self.blocked is None

    def want(self) -> None:
        """Connect, unless there is a connection, or the pause before the next try goes on."""
        if self._connection is None and not self._is_ending:
            self._try_within(max(0.0, self._try_at - time.monotonic()))

    def hurry(self) -> None:
        """Let somebody who came in a long pause not wait to its end."""
        if self._timer is not None:
            self._try_within(LONGEST_PAUSE_OF_NEWCOMERS_SECONDS)

    def rest(self) -> None:
        """Try no more until it is wanted again, then at once."""
        self._stop_timer()
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._try_at = 0.0

    def end(self) -> None:
        """Close for good; `is_ended` holds when it is done."""
        self._is_ending = True
        self._stop_timer()
        if self._connection is not None:
            try:
                self._connection.close()
            except ConnectionWrongStateError:
                return  # it is closing already

    def break_off(self) -> None:
        """Close the socket without a word to the broker."""
        if self._connection is not None:
            self._connection.break_off()

    def abandon(self) -> None:
        """Break the connection off and forget it, whatever state it is in."""
        connection, self._connection = self._connection, None
        self.blocked = None
        if connection is not None:
            connection.break_off()

    @property
    def is_ended(self) -> bool:
        """Whether nothing is open and nothing will be opened."""
        return self._is_ending and self._connection is None

    def open_channel(self, on_open: Callable[[Any], None]) -> None:
        """Open a channel."""
        self._connection.channel(on_open_callback=on_open)

    def ask(
        self,
        question: Callable[[Any, Callable[[object], None]], None],
        on_answer: Callable[[Refusal | None], None],
    ) -> None:
        """Ask on a channel of its own, which a refusal closes; None means yes.

        There is no answer when the connection is lost before it.
        """
        self.open_channel(partial(_put, question, on_answer))

    def corked(self) -> Any:
        """Return a context in which what is published is gathered, and sent at its end."""
        return self._connection

    def _try_within(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        if self._timer is None or at < self._try_at:
            self._stop_timer()
            self._try_at = at
            self._timer = self._loop.call_later(seconds, self._connect)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None

    def _connect(self) -> None:
        self._timer = None
        self._connection = _Connection(
            self._parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._not_opened,
            on_close_callback=self._closed,
            custom_ioloop=self._loop,
        )

    def _opened(self, connection: Any) -> None:
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self.opened_at = time.monotonic()
        connection.add_on_connection_blocked_callback(self._became_blocked)
        connection.add_on_connection_unblocked_callback(self._became_unblocked)
        _LOG.info("Connected to RabbitMQ at %s", self.shown)
        self._on_open()

    def _became_blocked(self, _connection: object, frame: Any) -> None:
        self.blocked = _text(frame.method.reason) or "no reason given"
        _LOG.warning("RabbitMQ at %s takes no messages: %s", self.shown, self.blocked)

    def _became_unblocked(self, _connection: object, _frame: object) -> None:
        self.blocked = None
        _LOG.info("RabbitMQ at %s takes messages again", self.shown)
        self._on_unblocked()

    def _not_opened(self, connection: object, error: BaseException) -> None:
        self._gone(connection, refusal_of_connection(error))

    def _closed(self, connection: object, error: BaseException) -> None:
        refusal = refusal_of_connection(error)
        if not self._is_ending:
            _LOG.warning("The connection to RabbitMQ at %s was lost: %s", self.shown, refusal)
        self._gone(connection, refusal)

    def _gone(self, connection: object, refusal: Refusal) -> None:
        if connection is not self._connection:  # it was abandoned
            return
        self._connection = None
        self.blocked = None
        pause = self._pause_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        self._try_at = time.monotonic() + min(pause, LONGEST_PAUSE_SECONDS)
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        self._on_lost(refusal)


class _Connection(SelectConnection):  # type: ignore[misc]  # pika has no types
    """Sends what is published together in few large pieces: three calls a message otherwise."""

    _gathered: list[bytes] | None = None
    _gathered_bytes = 0

    def __enter__(self) -> None:
        self._gathered = []

    def __exit__(self, *_: object) -> None:
        gathered, self._gathered = self._gathered, None
        self._flush(gathered or [])

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            super()._adapter_emit_data(data)
            return
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= PIECE_BYTES:
            self._flush(self._gathered)
            self._gathered = []

    def _flush(self, gathered: list[bytes]) -> None:
        self._gathered_bytes = 0
        if gathered:
            super()._adapter_emit_data(b"".join(gathered))

    def break_off(self) -> None:
        """Close the socket; pika's own `close` waits for the broker's answer."""
        if self._transport is not None:
            self._error = AMQPConnectionError("broken off")
            self._transport.abort()


def refusal_of(reason: BaseException) -> Refusal | None:
    """Return why the broker closed a channel; None when it did not, but the connection ended."""
    if not isinstance(reason, ChannelClosedByBroker):
        return None
    return Refusal(code=reason.reply_code, text=_text(reason.reply_text))


def _put(
    question: Callable[[Any, Callable[[object], None]], None],
    on_answer: Callable[[Refusal | None], None],
    channel: Any,
) -> None:
    def closed(_channel: object, reason: BaseException) -> None:
        refusal = refusal_of(reason)
        if refusal is not None:
            on_answer(refusal)

    def agreed(_frame: object) -> None:
        channel.close()
        on_answer(None)

    channel.add_on_close_callback(closed)
    question(channel, agreed)


def refusal_of_connection(error: BaseException) -> Refusal:
    """Return why there is no connection (any more)."""
    refused = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)
    code = ACCESS_REFUSED if isinstance(error, refused) else 0
    return Refusal(code=code, text=_innermost(error))


def _innermost(error: BaseException) -> str:
    """Return the text of the error at the bottom; pika wraps each in several."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    nested = getattr(error, "exceptions", None) or getattr(error, "exception", None)
    if nested:
        return _innermost(nested[-1] if isinstance(nested, (tuple, list)) else nested)
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no answer within {CONNECT_SECONDS:g} s"
    return str(error) or type(error).__name__


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
