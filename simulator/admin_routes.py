"""The simulator's own calls, which need no key.

GET, POST, DELETE /simulator/scenarios: the scenarios in force and all that are known; put some in
force (`{"scenarios": ["stuck:phase=validating"], "model": "gpt-4*", "next_batches": 2}`, the last
two may be left out); take all out of force.
POST /simulator/release[?batch=ID]: let a stuck batch, or all of them, go on.
GET /simulator/counters: calls by kind, batches, lines, tokens, files.
GET /simulator/paid-twice: the first bodies that were paid for more than once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from starlette.routing import Route

from simulator.api_errors import BAD_REQUEST, ApiError, error_response, json_response
from simulator.scenarios import CATALOGUE, parse_scenario

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from simulator.parts import Parts


class _ScenarioWish(msgspec.Struct, forbid_unknown_fields=True):
    """Scenarios to put in force, maybe for some models or the next few batches only."""

    scenarios: list[str]
    model: str | None = None
    next_batches: Annotated[int, msgspec.Meta(ge=1)] | None = None


class AdminCalls:
    """Answers the calls below /simulator."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the routes of the simulator's own calls."""
        return [
            Route("/simulator/scenarios", self._list_scenarios, methods=["GET"]),
            Route("/simulator/scenarios", self._set_scenarios, methods=["POST"]),
            Route("/simulator/scenarios", self._clear_scenarios, methods=["DELETE"]),
            Route("/simulator/release", self._release, methods=["POST"]),
            Route("/simulator/counters", self._counters, methods=["GET"]),
            Route("/simulator/paid-twice", self._paid_twice, methods=["GET"]),
        ]

    async def _list_scenarios(self, request: Request) -> Response:
        del request
        known = [
            {"name": each.name, "summary": each.summary, "parameters": dict(each.parameters)}
            for each in CATALOGUE
        ]
        return json_response({"active": self._parts.scenarios.listing(), "known": known})

    async def _set_scenarios(self, request: Request) -> Response:
        try:
            wish = msgspec.json.decode(await request.body(), type=_ScenarioWish)
            choices = [parse_scenario(text) for text in wish.scenarios]
        except ValueError as error:
            return error_response(ApiError(BAD_REQUEST, str(error)))
        self._parts.scenarios.add(choices, model=wish.model, next_batches=wish.next_batches)
        return json_response({"active": self._parts.scenarios.listing()})

    async def _clear_scenarios(self, request: Request) -> Response:
        del request
        self._parts.scenarios.clear()
        return json_response({"active": []})

    async def _release(self, request: Request) -> Response:
        batch_id = request.query_params.get("batch")
        released = self._parts.batches.release(batch_id)
        self._parts.worker.wake()
        return json_response({"released": released})

    async def _counters(self, request: Request) -> Response:
        del request
        again = await asyncio.to_thread(self._parts.paid.lines_paid_again)
        return json_response(self._totals() | {"lines_paid_more_than_once": again})

    def _totals(self) -> dict[str, Any]:
        values = dict(self._parts.database.execute("SELECT name, value FROM counters"))
        calls = {
            name.removeprefix("calls."): value
            for name, value in values.items()
            if name.startswith("calls.")
        }
        files, size = self._parts.files.totals()
        plain = (
            "batches_created", "lines_executed", "lines_paid", "tokens_read", "tokens_written"
        )  # fmt: skip
        return {
            "calls": calls,
            **{name: values.get(name, 0) for name in plain},
            "files_stored": files,
            "bytes_stored": size,
        }

    async def _paid_twice(self, request: Request) -> Response:
        del request
        offenders = await asyncio.to_thread(self._parts.paid.offenders)
        return json_response({"offenders": offenders})
