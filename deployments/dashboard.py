"""The dashboard inside the web process: loaded beside what is served already."""

import asyncio
import gc
import logging
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from receivers.answers import ApiError, api_error, send_error
from receivers.context import WebContext
from storage.ledger import Ledger

logger = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS: Final = 60


class Dashboard:
    """An application that is there at once and answers when the dashboard has been loaded.

    Loading takes about a second of computing, for which the REST API shall not wait.
    """

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._is_settled = asyncio.Event()
        self._app: ASGIApp | None = None

    async def run(self) -> None:
        """Load the dashboard and look after its sessions until cancelled."""
        try:
            app = await asyncio.to_thread(self._load)
        except Exception:
            logger.exception("the dashboard cannot be loaded; the API works without it")
            self._is_settled.set()
            return
        gc.freeze()  # it stays for ever: looking at it again would hold every request up
        async with app.router.lifespan_context(app):
            self._app = app
            self._is_settled.set()
            await asyncio.Event().wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one page's connection."""
        await self._is_settled.wait()
        if self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1011})
        else:
            await send_error(send, _not_loaded())

    def _load(self) -> FastAPI:
        from dashboards.context import DashboardContext  # noqa: PLC0415 - loads Panel
        from dashboards.mount import mount  # noqa: PLC0415 - loads Panel

        settings, directory = self._context.settings, self._context.directory
        # Pages read a copy of the ledger: there must be one, also before the pipeline has started.
        Ledger.open(directory, memory_bytes=settings.ledger_memory_bytes)
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        mount(app, DashboardContext(settings=settings, directory=directory))
        return app


def _not_loaded() -> ApiError:
    return api_error(
        503,
        "dashboard_unavailable",
        "Dashboard Unavailable",
        "the dashboard could not be loaded: the server's log says why",
        Retry_After=str(_TRY_AGAIN_SECONDS),
    )
