"""Answering lines: from raw input lines to the lines of the output and error files."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.answers import ANSWERERS, Answer, Model, dated_name, missing_parameter
from simulator.line_faults import Line, LineError
from simulator.request_lines import BODIES, RawLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.line_faults import LineFaults
    from simulator.records import BatchRecord

ANSWER_LINE = (
    '{"id":"batch_req_%s","custom_id":%s,"response":{"status_code":%d,"request_id":"req_%s",'
    '"body":%s},"error":null}\n'
)
UNEXECUTED_LINE = '{"id":"batch_req_%s","custom_id":%s,"response":null,"error":%s}\n'
UNEXECUTED = {
    "expired": {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    },
    "cancelled": {
        "code": "batch_cancelled",
        "message": "This request was not executed because the batch was cancelled.",
    },
    "generic": {
        "code": "server_error",
        "message": "The server had an error while processing your request. Sorry about that!",
    },
}
OK = 200
BAD_REQUEST = 400
TOO_MANY_REQUESTS = 429
_decode_line = msgspec.json.Decoder(RawLine).decode
_quote = msgspec.json.Encoder().encode


@dataclass(kw_only=True)
class Outcome:
    """What came out of a portion of a batch."""

    output: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    paid: array[int] = field(default_factory=lambda: array("q"))
    completed: int = 0
    failed: int = 0
    never_ran: int = 0
    tokens_read: int = 0
    tokens_written: int = 0


class Executor:
    """Answers the lines of one batch."""

    def __init__(self, batch: BatchRecord, faults: LineFaults, *, created: int) -> None:
        self.outcome = Outcome()
        self._endpoint = batch.endpoint
        self._answer: Callable[[Any, str, Model], Answer] = ANSWERERS[batch.endpoint]
        self._decode_body = msgspec.json.Decoder(BODIES[batch.endpoint]).decode
        self._faults = faults
        self._stem = batch.id.removeprefix("batch_")[:24]
        # The same body is the same work whatever its custom_id; other accounts pay for themselves.
        self._hash_key = f"{batch.account} {batch.endpoint}".encode()[:64]
        self._model = Model(
            name=_quote(dated_name(batch.model or "")).decode(),
            created=created,
            suffix=faults.suffix,
            shows_usage=faults.shows_usage,
        )

    def run(self, ordinal: int, raw: bytes) -> None:
        """Answer one line."""
        request = _decode_line(raw)
        digest = blake2b(request.body, digest_size=8, key=self._hash_key).digest()
        body_hash = int.from_bytes(digest, "little", signed=True)
        unique = f"{self._stem}{ordinal:08x}"
        if self._faults.any:
            line = Line(ordinal=ordinal, custom_id=request.custom_id, raw=raw, body_hash=body_hash)
            self._run_with_faults(line, unique, request.body)
        else:
            self._run(request.custom_id, unique, request.body, body_hash)

    def leave_out(self, ordinal: int, raw: bytes, reason: str) -> None:
        """Write down that a line was not executed."""
        custom_id = _quote(_decode_line(raw).custom_id).decode()
        error = _quote(UNEXECUTED[reason]).decode()
        unique = f"{self._stem}{ordinal:08x}"
        self.outcome.errors.append(UNEXECUTED_LINE % (unique, custom_id, error))

    def _run(self, custom_id: str, unique: str, raw_body: msgspec.Raw, body_hash: int) -> None:
        outcome = self.outcome
        try:
            body = self._decode_body(raw_body)
        except (msgspec.DecodeError, RecursionError) as error:
            self._fail(custom_id, unique, _invalid_type(str(error)))
            return
        if missing := missing_parameter(self._endpoint, body):
            self._fail(custom_id, unique, _missing(missing))
            return
        answer, read, written = self._answer(body, unique, self._model)
        quoted = _quote(custom_id).decode()
        outcome.output.append(ANSWER_LINE % (unique, quoted, OK, unique, answer))
        outcome.paid.append(body_hash)
        outcome.completed += 1
        outcome.tokens_read += read
        outcome.tokens_written += written

    def _run_with_faults(self, line: Line, unique: str, raw_body: msgspec.Raw) -> None:
        faults, outcome = self._faults, self.outcome
        dropped = faults.is_dropped(line)
        if dropped and faults.is_free():
            outcome.never_ran += 1
            return
        error = faults.error(line)
        if error is not None:
            self._fail_on_purpose(line, unique, error)
        else:
            self._run(line.custom_id, unique, raw_body, line.body_hash)
        where = outcome.output if error is None or error.in_output_file else outcome.errors
        if not where or unique not in where[-1]:
            return
        if dropped:
            where.pop()
        elif faults.is_duplicated(line):
            where.append(where[-1])
        elif faults.is_broken(line):
            where[-1] = where[-1][: len(where[-1]) // 2] + "\n"

    def _fail_on_purpose(self, line: Line, unique: str, error: LineError) -> None:
        self.outcome.failed += 1
        body = {"error": _error_body(error)}
        where = self.outcome.output if error.in_output_file else self.outcome.errors
        where.append(_error_line(line.custom_id, unique, error.status, body))

    def _fail(self, custom_id: str, unique: str, error: dict[str, Any]) -> None:
        self.outcome.failed += 1
        line = _error_line(custom_id, unique, BAD_REQUEST, {"error": error})
        self.outcome.errors.append(line)


def _error_line(custom_id: str, unique: str, status: int, body: dict[str, Any]) -> str:
    quoted = _quote(custom_id).decode()
    return ANSWER_LINE % (unique, quoted, status, unique, json.dumps(body, separators=(",", ":")))


def _invalid_type(reason: str) -> dict[str, Any]:
    return {
        "message": f"Invalid type in the request body: {reason}",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_type",
    }


def _missing(name: str) -> dict[str, Any]:
    return {
        "message": f"Missing required parameter: '{name}'.",
        "type": "invalid_request_error",
        "param": name,
        "code": "missing_required_parameter",
    }


def _error_body(error: LineError) -> dict[str, Any]:
    kind = "invalid_request_error"
    if error.status == TOO_MANY_REQUESTS:
        kind = error.code if error.code == "insufficient_quota" else "requests"
    elif error.status > TOO_MANY_REQUESTS:
        kind = "server_error"
    message = f"This request failed with status {error.status} because the simulator was told to."
    return {"message": message, "type": kind, "param": None, "code": error.code}
