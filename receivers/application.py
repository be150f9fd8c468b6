"""The web application: what stands in front of what."""

import logging
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receivers import (
    api_batches,
    api_deliveries,
    api_doctor,
    api_export,
    api_held_files,
    api_job_results,
    api_jobs,
    api_metrics,
    api_redelivery,
    api_rejected_lines,
    api_requests,
    api_results,
    api_state,
    api_stats,
    api_token_caps,
    documentation,
)
from receivers.answers import ApiError, answer_errors_in_one_shape, internal_error, send_error
from receivers.authentication import Authentication
from receivers.body_reading import ClientGone, send_error_early
from receivers.browser_pages import LOGIN, LOGOUT, PAGES, introduce, is_of_dashboard
from receivers.browser_sessions import BrowserSessions
from receivers.bulk_intake import BulkIntake
from receivers.context import WebContext
from receivers.dashboard_elsewhere import DashboardElsewhere
from receivers.failure_limit import FailureLimit
from receivers.file_intake import FileIntake
from receivers.head_requests import HeadRequests
from receivers.login import Login
from receivers.security_headers import SecurityHeaders
from receivers.single_intake import SingleIntake
from storage.health import product_version

logger = logging.getLogger(__name__)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    documentation.router,
    api_requests.router,
    api_results.router,
    api_job_results.router,
    api_rejected_lines.router,
    api_held_files.router,
    api_jobs.router,
    api_batches.router,
    api_deliveries.router,
    api_redelivery.router,
    api_metrics.router,
    api_state.router,
    api_doctor.router,
    api_stats.router,
    api_export.router,
    api_token_caps.router,
)
_DESCRIPTION: Final = (
    "Send OpenAI requests now, get every result later, at half the price. Requests come in one "
    "by one, as lines of an upload, or as files; what was answered with 202 is on the disk."
)


def build_application(context: WebContext, dashboard: ASGIApp | None = None) -> ASGIApp:
    """Return the application: headers, then authentication, then intake, then FastAPI.

    The dashboard, if there is one, answers at `/ui` and for the files that its pages load; if
    there is none, browsers are led to the process that has it.
    """
    intake = {
        "/api/requests": _Answered(SingleIntake(context)),
        "/api/requests/bulk": _Answered(BulkIntake(context)),
        "/api/files": _Answered(FileIntake(context)),
    }
    api = HeadRequests(_build_api(context, intake))
    failures, sessions = FailureLimit(), BrowserSessions(context)
    if dashboard is None:
        served = Authentication(_IntakeFirst(intake, api), context, failures, sessions)
        return SecurityHeaders(DashboardElsewhere(served, context))
    login = Login(context, sessions, failures)
    pages = _PagesFirst(HeadRequests(login), HeadRequests(dashboard), api)
    served = Authentication(_IntakeFirst(intake, pages), context, failures, sessions)
    return SecurityHeaders(served)


def _build_api(context: WebContext, intake: Mapping[str, ASGIApp]) -> FastAPI:
    app = FastAPI(
        title="OpenAI Batch Manager",
        version=product_version(),
        description=_DESCRIPTION,
        openapi_url=documentation.OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router)
    # Never reached by a POST, which is answered before; they make other methods a 405.
    app.router.routes.extend(
        Route(path, endpoint=answer, methods=["POST"]) for path, answer in intake.items()
    )
    answer_errors_in_one_shape(app)
    app.openapi = lambda: documentation.document(app)  # type: ignore[method-assign]  # as FastAPI's guide does
    return app


class _IntakeFirst:
    """Answers what brings requests in by itself: FastAPI would cost three times the rest."""

    def __init__(self, intake: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._intake = intake
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            answer = self._intake.get(scope["path"])
            if answer is not None:
                await answer(scope, receive, send)
                return
        await self._others(scope, receive, send)


class _PagesFirst:
    """Leads browsers to the dashboard, and everybody else past it."""

    def __init__(self, login: ASGIApp, dashboard: ASGIApp, others: ASGIApp) -> None:
        self._login = login
        self._dashboard = dashboard
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/" and scope["type"] == "http":
            await RedirectResponse(PAGES, 303)(scope, receive, send)
        elif path in {LOGIN, LOGOUT} and scope["type"] == "http":
            await self._login(scope, receive, send)
        elif is_of_dashboard(path):
            introduce(scope, scope["identity"])
            await self._dashboard(scope, receive, send)
        else:
            await self._others(scope, receive, send)


class _Answered:
    """Turns the errors of intake into answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ApiError as error:
            if error.status in _MAY_COME_EARLY:
                await send_error_early(receive, send, error)
            else:
                await send_error(send, error)
        except ClientGone:
            return
        except Exception:
            logger.exception("a request could not be taken in")
            await send_error_early(receive, send, internal_error())


_MAY_COME_EARLY: Final = frozenset({400, 408, 413, 415, 503})
"""Answers that may be given while the client is still sending."""
