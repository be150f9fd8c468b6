"""The web application: every route of the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from simulator import batch_routes, file_routes, model_routes
from simulator.admin_routes import AdminCalls
from simulator.api_errors import ApiError, error_response
from simulator.calls import call_route
from simulator.connections import WithConnection

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp

    from simulator.parts import Parts


def build_application(parts: Parts) -> ASGIApp:
    """Return the application that answers OpenAI's calls and the simulator's own."""
    application = Starlette(
        routes=[*_api_routes(parts), *AdminCalls(parts).routes()],
        exception_handlers={HTTPException: _unknown_url},
    )
    return WithConnection(application)


def _api_routes(parts: Parts) -> list[Route]:
    calls = [
        ("POST", "/v1/files", "files.create", file_routes.create_file),
        ("GET", "/v1/files", "files.list", file_routes.list_files),
        ("GET", "/v1/files/{file_id}", "files.retrieve", file_routes.retrieve_file),
        ("DELETE", "/v1/files/{file_id}", "files.delete", file_routes.delete_file),
        ("GET", "/v1/files/{file_id}/content", "files.content", file_routes.download_file),
        ("POST", "/v1/batches", "batches.create", batch_routes.create_batch),
        ("GET", "/v1/batches", "batches.list", batch_routes.list_batches),
        ("GET", "/v1/batches/{batch_id}", "batches.retrieve", batch_routes.retrieve_batch),
        ("POST", "/v1/batches/{batch_id}/cancel", "batches.cancel", batch_routes.cancel_batch),
        ("GET", "/v1/models", "models.list", model_routes.list_models),
        ("GET", "/v1/models/{model}", "models.retrieve", model_routes.retrieve_model),
    ]
    return [call_route(parts, method, path, kind, handler) for method, path, kind, handler in calls]


async def _unknown_url(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = f"Invalid URL ({request.method} {request.url.path})"
    return error_response(ApiError(status, message, code="unknown_url"))
