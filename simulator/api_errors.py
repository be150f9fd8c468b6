"""Errors in the shape of OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

BAD_REQUEST = 400
UNAUTHORIZED = 401
NOT_FOUND = 404
TOO_LARGE = 413
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500


class ApiError(Exception):
    """An error that the client gets as an answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {"message": message, "type": kind, "param": param, "code": code}


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with a JSON body."""
    return Response(
        msgspec.json.encode(content),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def error_response(error: ApiError) -> Response:
    """Return the answer that tells of an error, with all four keys."""
    return json_response({"error": error.body}, error.status, error.headers)


def not_found(what: str, object_id: str) -> ApiError:
    """Return the error for an object that this account does not have."""
    return ApiError(NOT_FOUND, f"No such {what} object: {object_id}", param="id")
