"""What scenarios do to the course of a batch."""

from __future__ import annotations

import json
import time
from hashlib import blake2b
from typing import TYPE_CHECKING

from simulator.limits import ORGANIZATION
from simulator.line_faults import Line, Selector
from simulator.records import BatchError

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.batch_store import BatchStore
    from simulator.inspection import Inspection
    from simulator.records import AppliedScenario, BatchRecord


def token_limit_message(model: str, limit: int) -> str:
    """Return the sentence in which OpenAI says that a model's queue is full."""
    return (
        f"Enqueued token limit reached for {model} in organization {ORGANIZATION}. "
        f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches "
        "have been completed."
    )


def missing_file_message(file_id: str) -> str:
    """Return the sentence in which OpenAI says that it cannot see a file."""
    return f"Cannot find file {file_id}, or organization {ORGANIZATION} does not have access to it."


def hold_seconds(batch: BatchRecord) -> float | None:
    """Return how long the batch is kept in its phase (0: until released), or None."""
    stuck = batch.scenario("stuck")
    if stuck is None or stuck.text("phase") != batch.status:
        return None
    return stuck.number("seconds")


def stop_position(batch: BatchRecord, total: int) -> tuple[int | None, str | None]:
    """Return after how many lines the batch stops by itself, and for which reason."""
    expires = batch.scenario("expires")
    if expires is not None:
        return int(total * expires.number("at")), expires.text("text").replace("code", "expired")
    cancelled = batch.scenario("cancelled_outside")
    if cancelled is not None:
        return int(total * cancelled.number("at")), "cancelled"
    return None, None


def exceeded_limit(
    hidden: AppliedScenario, batch: BatchRecord, model: str, tokens: int, batches: BatchStore
) -> int | None:
    """Return the hidden token limit of the batch's queue if the batch does not fit."""
    limit = hidden.integer("tokens")
    freed_before = time.time() - hidden.number("sticks")
    waiting = batches.enqueued_tokens(batch.account, model, ended_after=freed_before)
    return limit if waiting + tokens > limit else None


def failure_at_check(
    batch: BatchRecord, model: str, tokens: int, batches: BatchStore
) -> list[BatchError] | None:
    """Return why a batch with a good file fails its check all the same; None if it does not."""
    refused_anyway = batch.scenario("refused_batches")
    if refused_anyway is not None:
        code, message = refused_anyway.text("code"), refused_anyway.text("message")
        return [BatchError(code=code, message=message)] if code else []
    limit = None
    hidden = batch.scenario("hidden_limit")
    if hidden is not None:
        limit = exceeded_limit(hidden, batch, model, tokens, batches)
    refused = batch.scenario("token_limit")
    if refused is not None:
        limit = refused.integer("limit")
    if limit is not None:
        message = token_limit_message(model, limit)
        return [BatchError(code="token_limit_exceeded", message=message)]
    if batch.scenario("cannot_find_file") is not None:
        message = missing_file_message(batch.input_file_id)
        return [BatchError(code="invalid_file", message=message)]
    return None


def bad_lines(batch: BatchRecord, path: Path, inspection: Inspection) -> list[BatchError]:
    """Return what is said of the lines for which a scenario refuses the file."""
    scenario = batch.scenario("bad_lines")
    if scenario is None:
        return []
    picked = _picked(Selector(scenario), path, inspection)
    named = picked[: max(scenario.integer("shown"), 1)]
    code, names = scenario.text("code"), scenario.text("names")
    if names == "no":
        message = "The file holds a request that cannot be processed."
        return [BatchError(code=code, message=message) for _ in named[:1]]
    beyond = len(inspection.offsets) if names == "beyond" else 0
    message = "This request cannot be processed."
    return [BatchError(code=code, message=message, line=number + beyond) for number in named]


def _picked(selector: Selector, path: Path, inspection: Inspection) -> list[int]:
    """Return the numbers of the lines that the scenario means."""
    found = []
    with path.open("rb") as file:
        for ordinal, (offset, length, number) in enumerate(
            zip(inspection.offsets, inspection.lengths, inspection.numbers, strict=True)
        ):
            file.seek(offset)
            raw = file.read(length)
            body_hash = int.from_bytes(blake2b(_body(raw), digest_size=8).digest())
            line = Line(ordinal=ordinal, custom_id="", raw=raw, body_hash=body_hash)
            if selector.picks(line):
                found.append(number)
    return found


def _body(raw: bytes) -> bytes:
    return raw.partition(b'"body":')[2]


def trailing_lines(batch: BatchRecord) -> list[str]:
    """Return lines at the end of the output file that no request asked for."""
    lines: list[str] = []
    foreign = batch.scenario("foreign_lines")
    if foreign is not None:
        lines += [_foreign_line(number) for number in range(foreign.integer("count"))]
    garbage = batch.scenario("unparseable_lines")
    if garbage is not None:
        lines += ['{"id":"batch_req_cut","custom_id":"x","resp\n'] * garbage.integer("count")
    if batch.scenario("blank_lines") is not None:
        lines += ["\n", "\r\n", "\n"]
    return lines


def _foreign_line(number: int) -> str:
    line = {
        "id": f"batch_req_foreign{number}",
        "custom_id": f"foreign-{number}",
        "response": {
            "status_code": 200,
            "request_id": f"req_foreign{number}",
            "body": {"id": "chatcmpl-foreign", "object": "chat.completion", "choices": []},
        },
        "error": None,
    }
    return json.dumps(line, separators=(",", ":")) + "\n"
