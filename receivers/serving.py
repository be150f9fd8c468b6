"""Running the web application until somebody wants it to end."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from batching.errors import BatchManagerError, ConfigurationError
from receivers.connections import PatientProtocol, close_silent
from receivers.context import WebContext

logger = logging.getLogger(__name__)

_SWITCH_SECONDS: Final = 0.001
"""Threads of uploads compute; with Python's own 5 ms every other request would wait for them."""
_OBJECTS_TO_COLLECT: Final = 10_000
_BACKLOG: Final = 2_048
_KEEP_ALIVE_SECONDS: Final = 60
_STOP_SECONDS: Final = 3
_LOOK_SECONDS: Final = 0.5
_KNOWN_SECONDS: Final = 1.0


Beside = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs as long as is served, and is cancelled at the end."""


def serve(
    context: WebContext,
    app: ASGIApp,
    listener: socket.socket,
    besides: Sequence[Beside],
    *,
    who_answers: str,
) -> None:
    """Serve until SIGINT or SIGTERM; what was accepted is handed over at the end."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    # What is there now stays for ever: looking at it again would hold every request up.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_TO_COLLECT, 50, 100)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=PatientProtocol,
        ws="websockets-sansio",
        lifespan="off",
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    try:
        _Server(config, context, besides, who_answers).run(sockets=[listener])
    finally:
        gc.unfreeze()  # or the end of the process would take it all for leaked


def end_cleanly_on_signals() -> None:
    """Let a signal end the process as a success, also before and after it has served.

    uvicorn stops cleanly at a signal and then raises it again: that must not look like a crash.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def listen(host: str, port: int, *, setting: str) -> socket.socket:
    """Return a socket that is bound; ConfigurationError says why not, and which setting helps."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigurationError(
            f"this cannot listen on {host} port {port} ({reason}): stop what uses it, or set "
            f"OBM_HOST and {setting}"
        ) from error
    # asyncio does this only for sockets that it made itself; without it each answer takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _url_of(host: str, sockets: list[socket.socket] | None) -> str:
    port = sockets[0].getsockname()[1] if sockets else 0
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Does what has to be done besides answering."""

    def __init__(
        self,
        config: uvicorn.Config,
        context: WebContext,
        besides: Sequence[Beside],
        who_answers: str,
    ) -> None:
        super().__init__(config)
        self._context = context
        self._who_answers = who_answers
        self._url = ""
        self._begin: tuple[Beside, ...] = (
            self._look_after_connections,
            partial(_again_and_again, _LOOK_SECONDS, self._seal),
            partial(_again_and_again, _KNOWN_SECONDS, self._refresh),
            *besides,
        )
        self._besides: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets=sockets)
        self._url = _url_of(self._context.settings.host, sockets)
        logger.info("%s at %s", self._who_answers, self._url)
        self._besides = [asyncio.create_task(beside()) for beside in self._begin]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End uploads and waiting, finish the other requests, hand the log over."""
        self._context.health.report("stopping")
        self._context.uploads.stop()
        self._context.estimates.stop()
        self._context.results.stop()
        await super().shutdown(sockets=sockets)
        for task in self._besides:
            task.cancel()
        try:
            await self._context.commit.close()
        except (BatchManagerError, OSError) as error:
            logger.error("the log is handed over by ingestion or the next start: %s", error)  # noqa: TRY400 - no traceback for people
        self._context.health.report("stopped")

    async def _look_after_connections(self) -> None:
        while True:
            self._context.health.report("running", self._url)
            close_silent(
                self.server_state.connections, self._context.settings.receive_timeout_seconds
            )
            await asyncio.sleep(_LOOK_SECONDS)

    async def _seal(self) -> None:
        await self._context.commit.seal_if_due()

    async def _refresh(self) -> None:
        await asyncio.to_thread(self._context.known_ids.refresh)


async def _again_and_again(
    pause_seconds: float, step: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Repeat a step for ever; what goes wrong is said once and tried again."""
    said = ""
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            await step()
            said = ""
        except Exception as error:
            if str(error) != said:
                said = str(error)
                logger.warning("this goes wrong and is tried again: %s", said, exc_info=not said)
