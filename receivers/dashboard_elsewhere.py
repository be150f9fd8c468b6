"""Browsers that look for the dashboard where only the API is: they are led to its own process."""

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from receivers.answers import ApiError, api_error, send_error
from receivers.browser_guard import is_loopback, why_foreign
from receivers.browser_pages import is_page
from receivers.context import DASHBOARD_ROLE, WebContext
from storage.health import read_health

_LOOKING: Final = frozenset({"GET", "HEAD"})
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_OF_PROXIES: Final = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
)
_TRY_AGAIN_SECONDS: Final = 10


class DashboardElsewhere:
    """Answers for the dashboard's pages; everything else goes to the application.

    Whoever asks for a page is sent to the same name at the dashboard's port, token or not: the
    login is there. Behind a proxy ports are not for browsers, so it is told what to do instead.
    """

    def __init__(self, app: ASGIApp, context: WebContext) -> None:
        self._app = app
        self._context = context
        self._is_loopback = is_loopback(context.settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] not in _LOOKING or not is_page(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            address = self._address_for(scope)
        except ApiError as refusal:
            await send_error(send, refusal)
            return
        headers = [(b"location", address), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _address_for(self, scope: Scope) -> bytes:
        port = self._port()
        if any(name in _OF_PROXIES for name, _ in scope["headers"]):
            raise _behind_proxy(port)
        if self._is_loopback:
            reason = why_foreign(scope["headers"], self._context.settings.host)
            if reason is not None:
                raise api_error(403, "foreign_page", "Forbidden", reason)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        return b"http://%b:%d%b%b" % (_host_in(scope), port, scope["raw_path"], query)

    def _port(self) -> int:
        """Return where the dashboard's process says that it answers."""
        said = read_health(self._context.directory.health, DASHBOARD_ROLE)
        if said is None or said.state != "running" or not said.is_fresh(datetime.now(UTC)):
            raise _not_running()
        port = urlsplit(said.message or "").port
        if port is None:
            raise _not_running()
        return port


def _host_in(scope: Scope) -> bytes:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found is None:
        raise api_error(
            400, "invalid_host", "Bad Request", "the Host header must name this server, once"
        )
    return found[1]


def _not_running() -> ApiError:
    return api_error(
        503,
        "dashboard_unavailable",
        "Dashboard Unavailable",
        "this process serves the API alone, and no dashboard runs on its data directory: start "
        "`obm web --only dashboard`, or `obm up`, which runs both",
        Retry_After=str(_TRY_AGAIN_SECONDS),
    )


def _behind_proxy(port: int) -> ApiError:
    return api_error(
        404,
        "dashboard_elsewhere",
        "Not Found",
        f"the dashboard has a process of its own, at port {port}: let the proxy send /ui and "
        "/static there, websockets too",
    )
