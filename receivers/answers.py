"""Answers of the API: JSON, and every error in one shape, `{"errors":[{code, title, detail}]}`."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from batching.errors import BadInput, BatchManagerError, DiskFull, NotFound, TransientError
from receivers.allowed_methods import allowed_methods

logger = logging.getLogger(__name__)

JSON_HEADER: Final = (b"content-type", b"application/json")
_RETRY_SECONDS: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One entry of `errors`."""

    code: str
    title: str
    detail: str
    pointer: str | None = None
    """JSON pointer into the body that was sent; "" is all of it."""
    parameter: str | None = None
    """Name of a parameter of the query or path."""

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it is sent."""
        entry: dict[str, Any] = {"code": self.code, "title": self.title, "detail": self.detail}
        if self.pointer is not None:
            entry["source"] = {"pointer": self.pointer}
        elif self.parameter is not None:
            entry["source"] = {"parameter": self.parameter}
        return entry


class ApiError(Exception):
    """What is answered instead of what was asked for."""

    def __init__(
        self, status: int, *problems: Problem, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.status = status
        self.problems = problems
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """The body that is answered."""
        return error_body(self.problems)


def api_error(status: int, code: str, title: str, detail: str, **headers: str) -> ApiError:
    """Return an error with one entry; underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiError(status, Problem(code=code, title=title, detail=detail), headers=named)


def storage_unavailable(error: Exception) -> ApiError:
    """Return the answer for what could not be written: nothing of it was kept."""
    logger.error("intake cannot write: %s", error)
    return api_error(
        503,
        "storage_unavailable",
        "Storage Unavailable",
        "nothing was accepted, because it could not be written to the disk: try again later",
        Retry_After=str(_RETRY_SECONDS),
    )


def invalid_parameter(parameter: str, detail: str) -> ApiError:
    """Return the answer for a parameter that cannot be used."""
    problem = Problem(
        code="invalid_parameter", title="Invalid value", detail=detail, parameter=parameter
    )
    return ApiError(422, problem)


def error_body(problems: Iterable[Problem]) -> bytes:
    """Return the body of an error answer."""
    return msgspec.json.encode({"errors": [problem.as_json() for problem in problems]})


async def send_json(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole JSON answer."""
    length = (b"content-length", b"%d" % len(body))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON_HEADER, length, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ApiError, *headers: tuple[bytes, bytes]) -> None:
    """Send an error answer."""
    named = [(name.lower().encode(), text.encode()) for name, text in error.headers.items()]
    await send_json(send, error.status, error.body, *named, *headers)


def internal_error() -> ApiError:
    """Return the answer for a defect of ours; its details are in the log only."""
    return api_error(
        500, "internal_error", "Internal Server Error", "this is a defect: see the server's log"
    )


def answer_errors_in_one_shape(app: FastAPI) -> None:
    """Let every error of the application be answered in the shape of this module."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def send_response(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with this error, as an ASGI application would."""
    del scope, receive
    await send_error(send, error)


def _response(error: ApiError) -> Response:
    return Response(
        error.body, error.status, headers=dict(error.headers), media_type="application/json"
    )


async def _on_api_error(_request: Request, error: Any) -> Response:
    return _response(error)


async def _on_http_error(request: Request, error: Any) -> Response:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _other_methods(request)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    problem = Problem(code=code, title=phrase, detail=_detail_of(error, phrase))
    return _response(ApiError(error.status_code, problem, headers=error.headers))


def _other_methods(request: Request) -> Response:
    allowed = allowed_methods(request)
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    detail = f"this address does not answer {request.method}; it answers {allowed}"
    return _response(
        api_error(405, "method_not_allowed", "Method Not Allowed", detail, Allow=allowed)
    )


def _detail_of(error: HTTPException, phrase: str) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND and error.detail == phrase:
        return "there is nothing at this address: /api/swaggerui shows what there is"
    return str(error.detail)


async def _on_invalid_call(_request: Request, error: Any) -> Response:
    return _response(ApiError(422, *map(_invalid_value, error.errors())))


def _invalid_value(fault: dict[str, Any]) -> Problem:
    where, *path = fault["loc"]
    in_body = where == "body"
    return Problem(
        code="invalid_body" if in_body else "invalid_parameter",
        title="Invalid value",
        detail=fault["msg"],
        pointer="".join(f"/{part}" for part in path) if in_body else None,
        parameter=None if in_body else str(path[0] if path else where),
    )


async def _on_own_error(_request: Request, error: Any) -> Response:
    if isinstance(error, NotFound):
        return _response(api_error(404, "not_found", "Not Found", str(error)))
    if isinstance(error, BadInput):
        return _response(api_error(422, "validation_error", "Validation Error", str(error)))
    if isinstance(error, DiskFull):
        return _response(storage_unavailable(error))
    logger.error("a request could not be answered: %s", error)
    retry = {"Retry_After": str(_RETRY_SECONDS)} if isinstance(error, TransientError) else {}
    return _response(api_error(503, "unavailable", "Service Unavailable", str(error), **retry))


async def _on_defect(_request: Request, _error: Exception) -> Response:
    return _response(internal_error())


_HANDLERS: Final[Mapping[type[Exception], Any]] = {
    ApiError: _on_api_error,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid_call,
    BatchManagerError: _on_own_error,
    Exception: _on_defect,
}
