"""The records that the simulator keeps: files and batches."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

ParameterValue = str | int | float | bool


class AppliedScenario(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that was in force when a batch was created, with its parameters."""

    rule: int
    name: str
    parameters: dict[str, ParameterValue]

    def text(self, name: str) -> str:
        """Return a parameter as text."""
        return str(self.parameters[name])

    def integer(self, name: str) -> int:
        """Return a parameter as a whole number."""
        return int(self.parameters[name])

    def number(self, name: str) -> float:
        """Return a parameter as a number."""
        return float(self.parameters[name])

    def flag(self, name: str) -> bool:
        """Return a parameter as yes or no."""
        return bool(self.parameters[name])


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file; its content lies on disk under its id."""

    id: str
    account: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None = None


class BatchError(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a whole batch was refused."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A batch: what the client sees of it, and how far its work has come."""

    id: str
    account: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    phase_started: float
    metadata: dict[str, str] | None = None
    output_expires_seconds: int | None = None
    status: str = "validating"
    model: str | None = None
    errors: tuple[BatchError, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    scenarios: tuple[AppliedScenario, ...] = ()
    visible_at: float = 0.0
    lines_done: int = 0
    blocks_done: int = 0
    block_offset: int = 0
    stop_at: int | None = None
    stop_reason: str | None = None
    output_bytes: int = 0
    error_bytes: int = 0
    paid_bytes: int = 0

    def scenario(self, name: str) -> AppliedScenario | None:
        """Return the scenario of that name if it is in force for this batch."""
        return next((each for each in self.scenarios if each.name == name), None)


def new_id(prefix: str) -> str:
    """Return a fresh id in the form that OpenAI uses."""
    return prefix + secrets.token_hex(16)


def file_object(record: FileRecord) -> dict[str, Any]:
    """Return the file as the API shows it."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": record.created_at,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "expires_at": record.expires_at,
        "status_details": None,
    }


TIMESTAMPS = (
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def batch_object(record: BatchRecord) -> dict[str, Any]:
    """Return the batch as the API shows it, unset fields as null."""
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        "model": record.model,
        "errors": _errors(record),
        "input_file_id": record.input_file_id,
        "completion_window": record.completion_window,
        "status": record.status,
        "output_file_id": record.output_file_id,
        "error_file_id": record.error_file_id,
        **{name: getattr(record, name) for name in TIMESTAMPS},
        "request_counts": {
            "total": record.total,
            "completed": record.completed,
            "failed": record.failed,
        },
        "usage": _usage(record),
        "metadata": record.metadata,
    }


def _errors(record: BatchRecord) -> dict[str, Any] | None:
    if not record.errors:
        return None
    return {"object": "list", "data": [msgspec.to_builtins(error) for error in record.errors]}


def _usage(record: BatchRecord) -> dict[str, Any]:
    return {
        "input_tokens": record.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": record.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": record.input_tokens + record.output_tokens,
    }
