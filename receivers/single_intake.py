"""`POST /api/requests`: one request, answered when it is durable."""

from typing import Final
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from batching.errors import DiskFull
from batching.jobs import DEFAULT_JOB, LONGEST_JOB_NAME
from batching.line_faults import Fault, RefusalCode
from batching.request_faults import request_faults
from batching.requests import ReadRequest, read_request
from receivers.answers import (
    ApiError,
    Problem,
    api_error,
    invalid_parameter,
    send_json,
    storage_unavailable,
)
from receivers.body_reading import Room, read_body
from receivers.context import WebContext
from receivers.group_commit import Verdict
from receivers.intake_counts import ACCEPTED, DUPLICATE, SINGLE, outcome_of
from storage.intake_gate import IntakePause
from storage.received_lines import on_one_line

_encode: Final = msgspec.json.Encoder().encode
_NOT_JSON: Final = frozenset({RefusalCode.INVALID_UTF8, RefusalCode.NOT_JSON})
_OF_THE_DOMAIN: Final = frozenset(
    {
        RefusalCode.INVALID_DESTINATION,
        RefusalCode.DESTINATION_NOT_AVAILABLE,
        RefusalCode.LINE_TOO_LARGE,
    }
)
_MOST_HELD_BYTES: Final = 512_000_000
_PAUSE_RETRY_SECONDS: Final = 30


class _Accepted(msgspec.Struct, omit_defaults=True):
    custom_id: str
    duplicate: bool = False


class SingleIntake:
    """Takes one request a call."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._room = Room(_MOST_HELD_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        counts = self._context.counts
        try:
            custom_id, is_new = await self._take(scope, receive)
        except ApiError as error:
            counts.count_requests(SINGLE, outcome_of(error))
            raise
        counts.count_requests(SINGLE, ACCEPTED if is_new else DUPLICATE)
        await send_json(send, 202, _encode(_Accepted(custom_id, duplicate=not is_new)))

    async def _take(self, scope: Scope, receive: Receive) -> tuple[str, bool]:
        """Return the id of the request that is durable now, and whether it is new."""
        context, settings = self._context, self._context.settings
        job = job_of(scope["query_string"]) if scope["query_string"] else DEFAULT_JOB
        body = await read_body(
            scope,
            receive,
            room=self._room,
            largest_bytes=settings.max_request_bytes,
            timeout_seconds=settings.receive_timeout_seconds,
        )
        line = on_one_line(body)
        request = read_request(line, context.rules.now())
        if not isinstance(request, ReadRequest):
            raise refused(request_faults(line, request))
        if (pause := context.pause.now()) is not None:
            raise paused(pause)
        try:
            verdict = await context.commit.take(job, request, line)
        except (DiskFull, OSError) as error:
            raise storage_unavailable(error) from error
        if verdict is Verdict.CONFLICT:
            raise _conflict(request.custom_id, job)
        return request.custom_id, verdict is not Verdict.DUPLICATE


def job_of(query: bytes) -> str:
    """Return the job that the query names, or the default one."""
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("job")
    return DEFAULT_JOB if given is None else checked_job(given[-1])


def checked_job(name: str) -> str:
    """Return the name if a job can be called so; ApiError if not."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_JOB_NAME:
        raise invalid_parameter(
            "job", f"the name of a job has 1 to {LONGEST_JOB_NAME} visible characters"
        )
    return name


def paused(pause: IntakePause) -> ApiError:
    """Return the answer while intake is paused."""
    reason = f": {pause.reason}" if pause.reason else ""
    return api_error(
        503,
        "maintenance_mode",
        "Service Temporarily Unavailable",
        f"intake is paused since {pause.since:%Y-%m-%d %H:%M} UTC{reason}; try again later",
        Retry_After=str(_PAUSE_RETRY_SECONDS),
    )


def refused(faults: list[Fault]) -> ApiError:
    """Return the answer to a request with these faults: 400 if it is no JSON, else 422."""
    status = 400 if faults[0].code in _NOT_JSON else 422
    return ApiError(status, *map(_problem, faults))


def _problem(fault: Fault) -> Problem:
    is_schema = fault.code not in _OF_THE_DOMAIN
    return Problem(
        code=str(fault.code) if is_schema else "validation_error",
        title="Invalid value" if is_schema else "Validation Error",
        detail=fault.reason,
        pointer=fault.pointer,
    )


def _conflict(custom_id: str, job: str) -> ApiError:
    return api_error(
        409,
        "duplicate_custom_id",
        "Custom ID Already Exists",
        f"job {job!r} has a request {custom_id!r} with another content already",
    )
