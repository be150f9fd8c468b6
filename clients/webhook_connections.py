"""One HTTP/1.1 connection to a receiver, for one POST at a time."""

import asyncio
from typing import cast

from clients.webhook_answers import Answer, AnswerReader, Unanswered


class Connection(asyncio.Protocol):
    """A connection that is open, and whether it can be used again."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader()
        self._answer: asyncio.Future[Answer] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._last_sign = 0.0
        self._unsent_bytes = 0
        self._is_reusable = True
        self.opened_at = self._loop.time()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_usable(self) -> bool:
        """Whether another POST may go over it."""
        return self._is_reusable and not self._transport.is_closing()

    def abort(self) -> None:
        """Close it at once."""
        self._is_reusable = False
        self._transport.abort()

    async def exchange(self, request: bytes, *, most_bytes: int, silence_seconds: float) -> Answer:
        """Return the answer to the request.

        Unanswered: the connection failed; TimeoutError: nothing moved for so many seconds.
        """
        self._reader.begin(most_bytes)
        self._answer = self._loop.create_future()
        self._transport.write(request)
        self._note_sign()
        self._watch_silence(silence_seconds)
        try:
            return await self._answer
        except BaseException:
            self.abort()
            raise
        finally:
            self._answer = None
            if self._watch is not None:
                self._watch.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer; nobody should speak without having been asked."""
        if self._answer is None or self._answer.done():
            self.abort()
            return
        self._note_sign()
        try:
            answer = self._reader.feed(data)
        except Unanswered as error:
            self._answer.set_exception(error)
            return
        if answer is not None:
            self._finish(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Finish what can be finished, and say that it is over."""
        self._is_reusable = False
        if self._answer is not None and not self._answer.done():
            self._end(self._answer, error)
        if not self.closed.done():
            self.closed.set_result(None)

    def _finish(self, answer: Answer) -> None:
        if self._answer is None or self._answer.done():
            return
        self._answer.set_result(answer)
        # A request that was answered before it was sent is given up, with its connection.
        if not self._reader.keeps_alive or self._transport.get_write_buffer_size():
            self.abort()

    def _end(self, waiting: asyncio.Future[Answer], error: Exception | None) -> None:
        answer = self._reader.end() if error is None else None
        if answer is not None:
            waiting.set_result(answer)
            return
        reason = getattr(error, "strerror", None) or "the connection was closed"
        waiting.set_exception(
            Unanswered(f"no whole answer came ({reason})", began=self._reader.fed_bytes > 0)
        )

    def _note_sign(self) -> None:
        self._last_sign = self._loop.time()
        self._unsent_bytes = self._transport.get_write_buffer_size()

    def _watch_silence(self, seconds: float) -> None:
        """Look again when the silence might be too long, instead of at every byte."""
        self._watch = self._loop.call_at(self._last_sign + seconds, self._judge_silence, seconds)

    def _judge_silence(self, seconds: float) -> None:
        if self._answer is None or self._answer.done():
            return
        if self._transport.get_write_buffer_size() < self._unsent_bytes:
            self._note_sign()
        if self._loop.time() - self._last_sign < seconds:
            self._watch_silence(seconds)
        else:
            self._answer.set_exception(TimeoutError())
