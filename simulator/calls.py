"""What every call goes through: key, count, faults, errors."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from simulator.api_errors import (
    BAD_REQUEST,
    SERVER_ERROR,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    ApiError,
    error_response,
)
from simulator.connections import ConnectionDroppedError, NoResponse
from simulator.database import add_to_counters
from simulator.line_faults import falls_into_share
from simulator.records import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from simulator.parts import Parts
    from simulator.records import AppliedScenario

    Handler = Callable[[Parts, Request, str], Awaitable[Response]]

logger = logging.getLogger(__name__)
DEFAULT_ACCOUNT = "default"
CLIENT_CLOSED_REQUEST = 499


def call_route(parts: Parts, method: str, path: str, kind: str, handler: Handler) -> Route:
    """Return the route of one kind of call of the API."""
    call = _Call(parts, kind, handler)
    return Route(path, call.answer, methods=[method], name=kind)


class _Call:
    def __init__(self, parts: Parts, kind: str, handler: Handler) -> None:
        self._parts = parts
        self._kind = kind
        self._handler = handler
        self._counter = {f"calls.{kind}": 1}
        self._number = 0

    async def answer(self, request: Request) -> Response:
        """Answer a call, in whatever way the scenarios want it."""
        try:
            response = await self._answer(request)
        except ApiError as error:
            await _drain(request)
            response = error_response(error)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_CLOSED_REQUEST)
        except ConnectionDroppedError:
            response = NoResponse()
        response.headers["x-request-id"] = new_id("req_")
        return response

    async def _answer(self, request: Request) -> Response:
        account = self._account(request)
        add_to_counters(self._parts.database.connection, **self._counter)
        self._number += 1
        await self._misbehave("before")
        response = await self._handler(self._parts, request, account)
        await self._misbehave("after")
        return response

    def _account(self, request: Request) -> str:
        """Return whose objects the call may see; any key will do unless one is demanded."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            message = (
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            raise ApiError(UNAUTHORIZED, message)
        options = self._parts.options
        if options.api_key is not None and not compare_digest(
            key.encode(), options.api_key.encode()
        ):
            message = "Incorrect API key provided."
            raise ApiError(UNAUTHORIZED, message, code="invalid_api_key")
        if not options.accounts_by_key:
            return DEFAULT_ACCOUNT
        return blake2b(key.encode(), digest_size=8).hexdigest()

    async def _misbehave(self, when: str) -> None:
        for fault in self._parts.scenarios.for_calls(
            "slow_calls", "dropped_calls", "failing_calls"
        ):
            if fault.parameters.get("when", "before") == when and self._is_meant(fault):
                await _inflict(fault)

    def _is_meant(self, fault: AppliedScenario) -> bool:
        if fault.text("call") not in ("any", self._kind):
            return False
        key = f"{self._kind} {self._number}"
        if not falls_into_share(key, fault.number("share"), seed=fault.rule):
            return False
        return self._parts.scenarios.take(fault.rule, "calls", fault.integer("times"))


async def _drain(request: Request) -> None:
    """Take in the rest of an upload: a client that is still sending would not see the answer."""
    with suppress(ClientDisconnect, RuntimeError):  # the latter: it was taken in before
        async for _ in request.stream():
            pass


async def _inflict(fault: AppliedScenario) -> None:
    if fault.name == "slow_calls":
        await asyncio.sleep(fault.number("seconds"))
        return
    if fault.name == "dropped_calls":
        raise ConnectionDroppedError
    status, wait = fault.integer("status"), fault.number("retry_after")
    kind, code = "invalid_request_error", None
    if status == TOO_MANY_REQUESTS:
        kind, code = "requests", "rate_limit_exceeded"
    elif status >= SERVER_ERROR:
        kind = "server_error"
    headers = {"retry-after": f"{wait:g}"} if wait >= 0 else None
    message = f"This call failed with status {status} because the simulator was told to."
    raise ApiError(status, message, kind=kind, code=fault.text("code") or code, headers=headers)


async def read_json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a call carries."""
    try:
        found = msgspec.json.decode(await request.body())
    except msgspec.DecodeError as error:
        message = "We could not parse the JSON body of your request."
        raise ApiError(BAD_REQUEST, message) from error
    if not isinstance(found, dict):
        raise ApiError(BAD_REQUEST, "The body of the request must be a JSON object.")
    return found
