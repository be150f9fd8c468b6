"""Puts the dashboard into a web application; Panel is loaded with this module, not before."""

import secrets
from typing import Final

import panel as pn
from bokeh_fastapi import BokehFastAPI  # type: ignore[import-untyped]  # it has no types
from fastapi import FastAPI
from panel.io.fastapi import add_applications
from panel.viewable import Viewable

from batching.access import VISITOR_HEADER
from dashboards import shell  # brings panel-material-ui, whose files are found while mounting
from dashboards.context import DashboardContext
from dashboards.transfer import Transfer
from dashboards.websocket_patch import apply_websocket_patch

TITLE: Final = "OpenAI Batch Manager"
ADDRESSES: Final = ("/ui", "/ui/{page}", "/ui/{page}/{id}")
_UNUSED_SECONDS: Final = 10.0
_SECRET_BYTES: Final = 32
_HEADERS_KEPT: Final = [VISITOR_HEADER, "User-Agent", "Host"]
"""All that a page learns of its request; whatever it learns can be read in its source."""


def mount(
    app: FastAPI, context: DashboardContext, *, unused_seconds: float = _UNUSED_SECONDS
) -> BokehFastAPI:
    """Add the dashboard to an application; the application's lifespan lets go of closed pages."""
    apply_websocket_patch()
    pn.extension("echarts", notifications=True)

    def page() -> Viewable:
        return shell.build(context)

    served = add_applications(
        dict.fromkeys(ADDRESSES, page),
        app=app,
        title=dict.fromkeys(ADDRESSES, TITLE),
        sign_sessions=True,
        secret_key=secrets.token_bytes(_SECRET_BYTES),
        include_cookies=[],
        include_headers=_HEADERS_KEPT,
        unused_session_lifetime_milliseconds=round(unused_seconds * 1_000),
        check_unused_sessions_milliseconds=round(unused_seconds * 500),
    )
    _hide_from_the_description(app)
    app.add_middleware(Transfer)
    return served


def _hide_from_the_description(app: FastAPI) -> None:
    for route in app.routes:
        if getattr(route, "path", "").startswith("/ui"):
            route.include_in_schema = False  # type: ignore[attr-defined]  # every API route has it
