"""Puts the dashboard into a web application; Panel is loaded with this module, not before."""

import secrets
from typing import Final

import panel as pn
from bokeh_fastapi import BokehFastAPI  # type: ignore[import-untyped]  # it has no types
from fastapi import FastAPI
from panel.io.fastapi import add_applications
from panel.io.resources import COMPONENT_PATH
from panel.models.echarts import ECharts
from panel.viewable import Viewable

from batching.access import VISITOR_HEADER
from dashboards import shell  # brings panel-material-ui, whose files are found while mounting
from dashboards.context import DashboardContext
from dashboards.page_resources import page_resources
from dashboards.site import Site
from dashboards.transfer import Transfer
from dashboards.websocket_patch import apply_websocket_patch

TITLE: Final = "OpenAI Batch Manager"
ADDRESSES: Final = ("/ui", "/ui/{page}", "/ui/{page}/{id:path}")
_UNUSED_SECONDS: Final = 30.0
"""So long a slow line may take to bring what a page needs before it connects."""
_SECRET_BYTES: Final = 32
_HEADERS_KEPT: Final = [VISITOR_HEADER, "User-Agent", "Host"]
"""All that a page learns of its request; whatever it learns can be read in its source."""


def mount(
    app: FastAPI, context: DashboardContext, *, unused_seconds: float = _UNUSED_SECONDS
) -> BokehFastAPI:
    """Add the dashboard to an application; the application's lifespan lets go of closed pages."""
    apply_websocket_patch()
    pn.extension("echarts", notifications=True)

    site = Site.of(context)

    def page() -> Viewable:
        return shell.build(site)

    _load_less()
    served = add_applications(
        dict.fromkeys(ADDRESSES, page),
        app=app,
        title=dict.fromkeys(ADDRESSES, TITLE),
        sign_sessions=True,
        secret_key=secrets.token_bytes(_SECRET_BYTES),
        include_cookies=[],
        include_headers=_HEADERS_KEPT,
        unused_session_lifetime_milliseconds=round(unused_seconds * 1_000),
        check_unused_sessions_milliseconds=round(unused_seconds * 200),
    )
    served.resources = page_resources
    _take_away_components(app)
    _hide_from_the_description(app)
    app.add_middleware(Transfer)
    return served


def _load_less() -> None:
    """Leave out what Panel would send with every page: charts in three dimensions."""
    ECharts.__javascript_raw__ = [
        address for address in ECharts.__javascript_raw__ if "echarts-gl" not in address
    ]


def _take_away_components(app: FastAPI) -> None:
    """Leave out the address under which Panel imports, and so runs, any module that is named.

    Our pages bring their components along and never ask there.
    """
    app.router.routes = [
        route
        for route in app.router.routes
        if not getattr(route, "path", "").startswith(f"/{COMPONENT_PATH}")
    ]


def _hide_from_the_description(app: FastAPI) -> None:
    for route in app.routes:
        if getattr(route, "path", "").startswith("/ui"):
            route.include_in_schema = False  # type: ignore[attr-defined]  # every API route has it
