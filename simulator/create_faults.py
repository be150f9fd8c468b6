"""What scenarios do to the call that creates a batch."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from simulator.api_errors import (
    BAD_REQUEST,
    NOT_FOUND,
    TOO_MANY_REQUESTS,
    ApiError,
    json_response,
)
from simulator.batch_faults import exceeded_limit, missing_file_message, token_limit_message
from simulator.connections import ConnectionDroppedError
from simulator.inspection import first_model, inspect_file
from simulator.records import batch_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from simulator.parts import Parts
    from simulator.records import AppliedScenario, BatchRecord

TIMED = ("token_limit", "cannot_find_file", "refused_batches", "slow_create", "dropped_create")


async def refuse_create(
    parts: Parts, batch: BatchRecord, scenarios: Sequence[AppliedScenario]
) -> BatchRecord:
    """Return the batch with the scenarios that hold for it, unless one refuses it at once."""
    holding = []
    for scenario in scenarios:
        # Asked in turn: what refuses the call leaves the later ones unused.
        if _still_holds(parts, scenario, batch):
            await _refuse_at_once(parts, scenario, batch)
            holding.append(scenario)
    return replace(batch, scenarios=tuple(holding))


async def _refuse_at_once(parts: Parts, scenario: AppliedScenario, batch: BatchRecord) -> None:
    if scenario.parameters.get("as") not in ("400", "404", "429"):
        return
    if scenario.name == "cannot_find_file":
        raise _missing_file(scenario, batch)
    if scenario.name == "token_limit":
        raise _over_limit(parts, scenario, batch, scenario.integer("limit"))
    if scenario.name == "hidden_limit":
        await _check_hidden_limit(parts, scenario, batch)


def _still_holds(parts: Parts, scenario: AppliedScenario, batch: BatchRecord) -> bool:
    if scenario.name not in TIMED:
        return True
    if scenario.name == "cannot_find_file" and scenario.number("seconds"):
        uploaded_at = parts.files.content(batch.input_file_id).stat().st_mtime
        return time.time() < uploaded_at + scenario.number("seconds")
    subject = batch.input_file_id if scenario.name == "cannot_find_file" else "creates"
    return parts.scenarios.take(scenario.rule, subject, scenario.integer("times"))


def _missing_file(scenario: AppliedScenario, batch: BatchRecord) -> ApiError:
    status = NOT_FOUND if scenario.text("as") == "404" else BAD_REQUEST
    message = missing_file_message(batch.input_file_id)
    return ApiError(status, message, param="input_file_id", code="invalid_file")


def _over_limit(
    parts: Parts, scenario: AppliedScenario, batch: BatchRecord, limit: int
) -> ApiError:
    model = first_model(parts.files.content(batch.input_file_id)) or ""
    status = TOO_MANY_REQUESTS if scenario.text("as") == "429" else BAD_REQUEST
    return ApiError(status, token_limit_message(model, limit), code="token_limit_exceeded")


async def _check_hidden_limit(parts: Parts, scenario: AppliedScenario, batch: BatchRecord) -> None:
    path = parts.files.content(batch.input_file_id)
    inspection = await asyncio.to_thread(inspect_file, path, batch.endpoint)
    model, tokens = inspection.model or "", inspection.tokens
    limit = exceeded_limit(scenario, batch, model, tokens, parts.batches)
    if limit is not None:
        raise _over_limit(parts, scenario, batch, limit)


async def answer_create(parts: Parts, batch: BatchRecord) -> Response:
    """Create the batch and answer, late or not at all if a scenario wants that."""
    slow, dropped = batch.scenario("slow_create"), batch.scenario("dropped_create")
    fault = slow or dropped
    if fault is None or fault.text("batch") != "never":
        _create(parts, batch, fault)
    if slow is not None:
        await asyncio.sleep(slow.number("seconds"))
    if dropped is not None or (fault is not None and fault.text("batch") == "never"):
        raise ConnectionDroppedError
    return json_response(batch_object(batch))


def _create(parts: Parts, batch: BatchRecord, fault: AppliedScenario | None) -> None:
    if fault is not None and fault.text("batch") == "hidden":
        batch = replace(batch, visible_at=time.time() + fault.number("hidden_seconds"))
    parts.batches.create(batch, due_at=time.time() + parts.options.phase_seconds)
    parts.scenarios.use_up(batch.scenarios)
    parts.worker.wake()
