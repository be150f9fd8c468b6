"""The messages of one call: which are still to be sent, and what became of each."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from batching.deliveries import LONGEST_EXCERPT, Outcome, Reply
from batching.push_options import RabbitMQRoute
from clients.rabbitmq_messages import Outgoing


class Burst:
    """What one caller wants published; used by the publishing thread alone once handed over."""

    __slots__ = ("_again", "_left", "_next", "_replies", "arrived", "future", "messages", "route")

    def __init__(self, route: RabbitMQRoute, messages: Sequence[Outgoing]) -> None:
        self.route = route
        self.messages = messages
        self.arrived = time.monotonic()
        self.future: Future[list[Reply]] = Future()
        self.future.set_running_or_notify_cancel()  # from now on nobody can cancel it
        self._replies: list[Reply | None] = [None] * len(messages)
        self._left = len(messages)
        self._next = 0
        self._again: deque[int] = deque()
        if not messages:
            self.future.set_result([])

    @property
    def was_begun(self) -> bool:
        """Whether one of the messages has been sent."""
        return self._next > 0

    @property
    def is_done(self) -> bool:
        """Whether every message has its reply."""
        return not self._left

    def take(self) -> int | None:
        """Return the index of the next message to send; None when there is none for now."""
        while self._again:
            index = self._again.popleft()
            if self._replies[index] is None:
                return index
        if self._next < len(self.messages) and self._left:
            self._next += 1
            return self._next - 1
        return None

    def put_back(self, index: int) -> None:
        """Let a message be sent again: its fate is unknown."""
        self._again.append(index)

    def unsent(self) -> Iterator[int]:
        """Give out the indexes of all messages that wait to be sent."""
        while (index := self.take()) is not None:
            yield index

    def success(self, now: float) -> Reply:
        """Return the reply for what is confirmed now; messages may share it."""
        return Reply(outcome=Outcome.SUCCESS, duration_seconds=now - self.arrived)

    def fail(self, index: int, outcome: Outcome, excerpt: str) -> None:
        """Answer one message with a failure."""
        spent = time.monotonic() - self.arrived
        text = excerpt[:LONGEST_EXCERPT]
        self.answer(index, Reply(outcome=outcome, duration_seconds=spent, excerpt=text))

    def fail_unsent(self, outcome: Outcome, excerpt: str) -> None:
        """Answer everything that waits to be sent with the same failure."""
        spent = time.monotonic() - self.arrived
        reply = Reply(outcome=outcome, duration_seconds=spent, excerpt=excerpt[:LONGEST_EXCERPT])
        for index in list(self.unsent()):
            self.answer(index, reply)

    def answer(self, index: int, reply: Reply) -> None:
        """Keep the reply of one message; the last one answers the caller."""
        if self._replies[index] is not None:
            return
        self._replies[index] = reply
        self._left -= 1
        if not self._left:
            self.future.set_result([reply for reply in self._replies if reply is not None])
