"""Groups of messages: stored as one, answered to the broker only when they are durable."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from batching.errors import DiskFull
from batching.requests import ReadingRules
from receivers.rabbitmq_connection import Pauses
from receivers.rabbitmq_verdicts import Refused, judge
from storage.intake_log import IntakeLog
from storage.quarantine import Quarantine, RefusedMessage
from storage.received_lines import microseconds

_TELL_SECONDS: Final = 10.0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the broker handed it over."""

    method: Any
    properties: Any
    body: bytes


class Group:
    """Messages that are stored together.

    What is done is not repeated when storing failed and is tried again: no line goes into the
    log a second time.
    """

    def __init__(
        self, deliveries: Sequence[Delivery], *, queue: str, rules: ReadingRules, largest_bytes: int
    ) -> None:
        received_at = datetime.now(UTC)
        received_at_us = microseconds(received_at)
        self._lines: list[bytes] = []
        self._refused: list[RefusedMessage] = []
        self._refused_tags: list[int] = []
        self._last_good_tag: int | None = None
        for delivery in deliveries:
            verdict = judge(
                delivery.body,
                delivery.properties.headers,
                rules=rules,
                largest_bytes=largest_bytes,
                received_at_us=received_at_us,
            )
            if isinstance(verdict, Refused):
                self._refuse(delivery, verdict, queue, received_at)
            else:
                self._lines.append(verdict)
                self._last_good_tag = delivery.method.delivery_tag
        self.refused_count = len(self._refused)

    def _refuse(
        self, delivery: Delivery, refused: Refused, queue: str, received_at: datetime
    ) -> None:
        self._refused_tags.append(delivery.method.delivery_tag)
        self._refused.append(
            RefusedMessage(
                received_at=received_at,
                queue=queue,
                exchange=_text(delivery.method.exchange),
                routing_key=_text(delivery.method.routing_key),
                message_id=_text(delivery.properties.message_id) or None,
                code=refused.code,
                reason=refused.reason,
                body=delivery.body,
            )
        )

    def store(self, log: IntakeLog, quarantine: Quarantine) -> None:
        """Make everything durable that is not yet; raise DiskFull or OSError otherwise."""
        if self._refused:
            quarantine.write(self._refused)
            self._refused = []
        log.write(self._lines)

    def answer(self, channel: Any) -> None:
        """Tell the broker: refused messages one by one, then all good ones at once.

        The last good one must be still open when it stands for all before it.
        """
        for tag in self._refused_tags:
            channel.basic_reject(tag, requeue=False)
        if self._last_good_tag is not None:
            channel.basic_ack(self._last_good_tag, multiple=True)


class Storing:
    """Where groups go, and how it is with the disk: told once when it changes."""

    def __init__(self, log: IntakeLog, quarantine: Quarantine) -> None:
        self._log, self._quarantine = log, quarantine
        self._pauses = Pauses()
        self._try_at = 0.0
        self.trouble: str | None = None
        """Why nothing can be stored."""
        self.seal_trouble: str | None = None
        """Why what is stored cannot be handed over."""
        self._untold_refusals = 0
        self._tell_at = 0.0

    @property
    def may_try(self) -> bool:
        """Whether the pause after a failure is over."""
        return time.monotonic() >= self._try_at

    def store(self, group: Group) -> bool:
        """Return whether the group is durable now."""
        before, self.trouble = self.trouble, _trouble_with(partial(self._store, group))
        if self.trouble is None:
            self._pauses.reset()
            self._untold_refusals += group.refused_count
        else:
            self._try_at = time.monotonic() + self._pauses.next()
        if self.trouble != before:
            _tell("Requests cannot be stored, the broker keeps them", self.trouble)
        return self.trouble is None

    def _store(self, group: Group) -> None:
        group.store(self._log, self._quarantine)

    def seal_if_due(self) -> None:
        """Hand the log over when it is time; call it about each second."""
        self._seal(self._log.seal_if_due)

    def close(self) -> None:
        """Hand over what was written; if that fails, the next start does it."""
        self._seal(self._log.close)
        self._tell_at = 0.0
        self.tell_refusals()

    def tell_refusals(self) -> None:
        """Log how many messages were refused, seldom: a flood of them is no flood of lines."""
        if self._untold_refusals and time.monotonic() >= self._tell_at:
            _LOG.warning(
                "Messages were refused: staging/rejected has them with the reasons",
                extra={"count": self._untold_refusals},
            )
            self._untold_refusals = 0
            self._tell_at = time.monotonic() + _TELL_SECONDS

    def _seal(self, seal: Callable[[], object]) -> None:
        before, self.seal_trouble = self.seal_trouble, _trouble_with(seal)
        if self.seal_trouble != before:
            _tell("What was received cannot be handed over yet", self.seal_trouble)


def _trouble_with(act: Callable[[], object]) -> str | None:
    try:
        act()
    except (DiskFull, OSError) as error:
        return _words(error)
    return None


def _tell(what: str, trouble: str | None) -> None:
    if trouble is None:
        _LOG.info("Over: %s", what)
    else:
        _LOG.error("%s: %s", what, trouble)


def _words(error: DiskFull | OSError) -> str:
    if isinstance(error, DiskFull):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
