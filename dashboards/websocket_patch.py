"""Corrects what bokeh-fastapi gets wrong when a page is closed or opened by somebody else.

Its loop takes the message that a page has gone for an empty one, asks again, handles the last
message once more, and ends by an exception that nobody sees: the session would stay for ever. It
also lets whoever knows a page's
token join its session, answers tokens that are too old with a traceback, and lets a page wait for
ever whose session has ended before it connects.
"""

import logging
from importlib.metadata import version
from typing import Any, Final

from bokeh.protocol.exceptions import ProtocolError
from bokeh.util.token import get_session_id, get_token_payload
from bokeh_fastapi.handler import WSHandler  # type: ignore[import-untyped]  # it has no types
from starlette.websockets import WebSocket, WebSocketDisconnect

from batching.access import VISITOR_HEADER
from batching.errors import ConfigurationError

_log = logging.getLogger(__name__)

_PACKAGE: Final = "bokeh-fastapi"
_CORRECTED: Final = "0.1.8"
_POLICY_VIOLATION: Final = 1008
_connect: Final = WSHandler.ws_connect


def apply_websocket_patch() -> None:
    """Correct bokeh-fastapi in this process; ConfigurationError if it is another version."""
    found = version(_PACKAGE)
    if found != _CORRECTED:
        raise ConfigurationError(
            f"{_PACKAGE} {found} is installed, and the dashboard corrects {_CORRECTED}: install "
            "the versions of requirements.lock"
        )
    WSHandler._receive_loop = _receive_and_let_go  # noqa: SLF001 - there is no other way in
    WSHandler.ws_connect = _connect_politely


async def _receive_and_let_go(handler: Any) -> None:
    try:
        await _receive_until_gone(handler)
    except WebSocketDisconnect as gone:
        _log.info("a page has gone: %s", gone.code)
    finally:
        if handler.connection is not None:
            if handler.connection.session is not None:
                handler.connection.session.request_expiration()  # pages load anew, never reconnect
            handler.application.client_lost(handler.connection)


async def _receive_until_gone(handler: Any) -> None:
    while True:
        said = await handler._socket.receive()  # noqa: SLF001 - see above
        if said["type"] == "websocket.disconnect":
            return
        fragment = said.get("text") or said.get("bytes")
        try:
            message = await handler._receive(fragment)  # noqa: SLF001 - see above
            work = await handler._handle(message) if message else None  # noqa: SLF001 - see above
            if work:
                await handler.send_message(work)
        except WebSocketDisconnect:
            return
        except Exception:  # noqa: BLE001 - whatever it is, the page is told and the loop goes on
            _log.exception("a message of a page could not be handled")
            await handler._internal_error("server failed to handle a message")  # noqa: SLF001 - see above


async def _connect_politely(handler: Any, websocket: WebSocket) -> None:
    try:
        _check(handler, websocket)
        await _connect(handler, websocket)
    except Exception as error:  # noqa: BLE001 - bad tokens raise all sorts; it must not look like a defect
        _log.info("a page could not be connected: %s", error)
        await websocket.close(_POLICY_VIOLATION)


def _check(handler: Any, websocket: WebSocket) -> None:
    """Raise if the page was not made for the one who connects it, or is not there any more."""
    token = websocket.scope["subprotocols"][-1]
    made_for = get_token_payload(token).get("headers", {}).get(VISITOR_HEADER)
    if made_for != websocket.headers.get(VISITOR_HEADER):
        raise ProtocolError("it was made for somebody else")
    handler.application_context.get_session(get_session_id(token))
