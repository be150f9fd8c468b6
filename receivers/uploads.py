"""Large uploads: each is worked on by a thread that asks for the next piece when it wants one."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Final, TypeVar

from starlette.types import Receive

from receivers.answers import ApiError, api_error
from receivers.body_reading import Pace, next_piece

_PIECE_BYTES: Final = 1_000_000
_RETRY_SECONDS: Final = 10

_Result = TypeVar("_Result")


class Pieces:
    """The body of one upload, for the thread that works on it."""

    def __init__(
        self, receive: Receive, loop: asyncio.AbstractEventLoop, timeout_seconds: float
    ) -> None:
        self._receive = receive
        self._loop = loop
        self._timeout_seconds = timeout_seconds
        self._asked: Future[tuple[bytes, bool]] | None = None
        self._is_stopped = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield what comes, in pieces of about a megabyte; ApiError if it does not come."""
        has_more = True
        while has_more:
            if self._is_stopped:
                raise shutting_down()
            self._asked = asyncio.run_coroutine_threadsafe(self._gathered(), self._loop)
            try:
                piece, has_more = self._asked.result()
            except CancelledError:
                raise shutting_down() from None
            if piece:
                yield piece

    def stop(self) -> None:
        """Let the upload end without a result."""
        self._is_stopped = True
        if self._asked is not None:
            self._asked.cancel()

    async def _gathered(self) -> tuple[bytes, bool]:
        """Return what has come, at most about so much that the thread is worth waking."""
        gathered, pace = bytearray(), Pace(self._timeout_seconds)
        has_more = True
        while has_more and len(gathered) < _PIECE_BYTES:
            pace.demand(len(gathered))
            piece, has_more = await next_piece(self._receive, self._timeout_seconds)
            gathered += piece
        return bytes(gathered), has_more


class Uploads:
    """The uploads under way: a bounded number, and all of them can be stopped."""

    def __init__(self, *, most_at_once: int, timeout_seconds: float) -> None:
        self._most_at_once = most_at_once
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(most_at_once, thread_name_prefix="upload")
        self._under_way: set[Pieces] = set()

    async def run(self, receive: Receive, work: Callable[[Pieces], _Result]) -> _Result:
        """Return what the work makes of the body of a request; it runs in a thread."""
        if len(self._under_way) >= self._most_at_once:
            raise api_error(
                503,
                "too_many_uploads",
                "Service Unavailable",
                f"{self._most_at_once} uploads are under way: try again in a moment",
                Retry_After=str(_RETRY_SECONDS),
            )
        loop = asyncio.get_running_loop()
        pieces = Pieces(receive, loop, self._timeout_seconds)
        self._under_way.add(pieces)
        try:
            return await loop.run_in_executor(self._threads, work, pieces)
        finally:
            self._under_way.discard(pieces)

    def stop(self) -> None:
        """Let all uploads end without a result."""
        for pieces in self._under_way:
            pieces.stop()


def shutting_down() -> ApiError:
    """Return the answer while the server stops."""
    return api_error(
        503,
        "shutting_down",
        "Service Unavailable",
        "the server is stopping, and nothing of this was accepted: send it again",
        Retry_After=str(_RETRY_SECONDS),
    )
