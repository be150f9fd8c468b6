"""What a provider sends about batches and files, read tolerantly into our own records.

Compatible servers differ: fields are null, absent or `""`, counts are missing, statuses are
new. Only an answer without an id is refused, because nothing can be done with it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec

from batching.errors import ProviderUnavailable

WAITING_STATUSES = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
ENDED_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})
_OTHER_SPELLINGS = {"canceled": "cancelled", "canceling": "cancelling"}
_SHOWN_CHARACTERS = 200
_MOST_REQUESTS = 2**31 - 1
_MOST_COUNTED = 2**53
"""More than any provider counts, and as much as every reader of JSON can hold."""
_USABLE_ID = re.compile(r"[!-~]{1,512}")

Object: TypeAlias = Mapping[str, object]


class Phase(StrEnum):
    """Whether a batch still has to be polled."""

    WAITING = "waiting"
    """The provider works on it, or says something that we do not know."""
    ENDED = "ended"
    """Nothing more will happen to it; its files can be collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFault:
    """One reason that the provider gives for refusing a batch or a call."""

    code: str | None = None
    message: str = ""
    line: int | None = None
    param: str | None = None


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens that were counted; cached are part of input, reasoning part of output."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class TokenDetails(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parts of a token count, as they come."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class UsageFields(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Usage in the words of all endpoints: prompt/completion, input/output, prompt alone."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBatch:
    """A batch as the provider describes it at one moment."""

    id: str
    status: str
    phase: Phase
    known: bool
    """Whether the status is one that this version knows."""
    endpoint: str | None = None
    model: str | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: datetime | None = None
    in_progress_at: datetime | None = None
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    usage: TokenUsage | None = None
    errors: tuple[BatchFault, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFile:
    """A file that the provider keeps."""

    id: str
    bytes: int | None = None
    purpose: str | None = None
    filename: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None


def read_batch(raw: object) -> ProviderBatch:
    """Return the batch in an answer; raise ProviderUnavailable if it holds none."""
    answer = _identified(raw, "batch")
    status = _status(answer.get("status"))
    counts = _mapping(answer.get("request_counts"))
    return ProviderBatch(
        id=str(answer["id"]),
        status=status,
        phase=Phase.ENDED if status in ENDED_STATUSES else Phase.WAITING,
        known=status in ENDED_STATUSES or status in WAITING_STATUSES,
        endpoint=read_text(answer.get("endpoint")),
        model=read_text(answer.get("model")),
        input_file_id=read_text(answer.get("input_file_id")),
        output_file_id=read_text(answer.get("output_file_id")),
        error_file_id=read_text(answer.get("error_file_id")),
        created_at=read_time(answer.get("created_at")),
        in_progress_at=read_time(answer.get("in_progress_at")),
        expires_at=read_time(answer.get("expires_at")),
        ended_at=read_time(answer.get(f"{status}_at")) if status in ENDED_STATUSES else None,
        total=_number_of_requests(counts.get("total")),
        completed=_number_of_requests(counts.get("completed")),
        failed=_number_of_requests(counts.get("failed")),
        usage=read_usage(answer.get("usage")),
        errors=_faults(answer.get("errors")),
        metadata=_metadata(answer.get("metadata")),
    )


def read_file(raw: object) -> ProviderFile:
    """Return the file in an answer; raise ProviderUnavailable if it holds none."""
    answer = _identified(raw, "file")
    return ProviderFile(
        id=str(answer["id"]),
        bytes=read_count(answer.get("bytes")),
        purpose=read_text(answer.get("purpose")),
        filename=read_text(answer.get("filename")),
        created_at=read_time(answer.get("created_at")),
        expires_at=read_time(answer.get("expires_at")),
    )


def read_fault(raw: object) -> BatchFault | None:
    """Return the code, message, line and param of an error object, or None if it is none."""
    if isinstance(raw, str) and raw.strip():
        return BatchFault(message=read_text(raw.strip()) or "")
    fault = _mapping(raw)
    code = fault.get("code")
    if code is None or code == "":
        code = fault.get("type")
    message = read_text(fault.get("message")) or ""
    if not message and code is None:
        return None
    return BatchFault(
        code=None if code is None else read_text(str(code)),
        message=message,
        line=read_count(fault.get("line")),
        param=read_text(fault.get("param")),
    )


def read_usage(raw: object) -> TokenUsage | None:
    """Return the token usage in an answer of any endpoint, or None if it tells none."""
    return usage_of(read_usage_fields(raw))


def read_usage_fields(raw: object) -> UsageFields:
    """Return those usage fields of an answer that are token counts, in its own words."""
    usage = _mapping(raw)
    return UsageFields(
        prompt_tokens=read_count(usage.get("prompt_tokens")),
        completion_tokens=read_count(usage.get("completion_tokens")),
        input_tokens=read_count(usage.get("input_tokens")),
        output_tokens=read_count(usage.get("output_tokens")),
        prompt_tokens_details=_details(usage.get("prompt_tokens_details")),
        completion_tokens_details=_details(usage.get("completion_tokens_details")),
        input_tokens_details=_details(usage.get("input_tokens_details")),
        output_tokens_details=_details(usage.get("output_tokens_details")),
    )


def usage_of(fields: UsageFields) -> TokenUsage | None:
    """Return the usage whatever the endpoint's words, or None if it has no input count."""
    input_tokens, output_tokens = fields.input_tokens, fields.output_tokens
    if input_tokens is None:
        input_tokens = fields.prompt_tokens
    if output_tokens is None:
        output_tokens = fields.completion_tokens
    if input_tokens is None and output_tokens is None:
        return None
    incoming = fields.input_tokens_details or fields.prompt_tokens_details
    outgoing = fields.output_tokens_details or fields.completion_tokens_details
    return TokenUsage(
        input_tokens=input_tokens or 0,
        cached_tokens=(incoming.cached_tokens or 0) if incoming else 0,
        output_tokens=output_tokens or 0,
        reasoning_tokens=(outgoing.reasoning_tokens or 0) if outgoing else 0,
    )


def read_text(value: object) -> str | None:
    """Return a text that says something; null, absent, "" and other types are None.

    Halves of surrogate pairs, which nothing can store, are replaced.
    """
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def read_count(value: object) -> int | None:
    """Return a whole number of at least zero that somebody can have counted, else None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_COUNTED:
        return value
    return None


def read_time(value: object) -> datetime | None:
    """Return a time given in Unix seconds or ISO 8601, or None for anything else."""
    try:
        if isinstance(value, str):
            return _in_utc(datetime.fromisoformat(value))
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC) if value > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
    return None


def describe_answer(raw: object) -> str:
    """Return what an unexpected answer looks like, short enough for an error message."""
    if raw is None or raw in ("", b""):
        return "nothing"
    try:
        shown = " ".join(str(raw).split()).encode("utf-8", "backslashreplace").decode()
    except RecursionError:
        return "something that is nested too deeply to be shown"
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "…"
    return shown


def _identified(raw: object, kind: str) -> Object:
    answer = _mapping(raw)
    identifier = answer.get("id")
    if not isinstance(identifier, str) or _USABLE_ID.fullmatch(identifier) is None:
        raise ProviderUnavailable(
            f"the provider sent no {kind} but: {describe_answer(raw)}. "
            "Check OPENAI_BASE_URL if this goes on."
        )
    return answer


def _status(value: object) -> str:
    status = (read_text(value) or "").strip().lower()
    return _OTHER_SPELLINGS.get(status, status)


def _mapping(value: object) -> Object:
    return value if isinstance(value, Mapping) else {}


def _details(value: object) -> TokenDetails | None:
    if not isinstance(value, Mapping):
        return None
    return TokenDetails(
        cached_tokens=read_count(value.get("cached_tokens")),
        reasoning_tokens=read_count(value.get("reasoning_tokens")),
    )


def _faults(value: object) -> tuple[BatchFault, ...]:
    entries = value.get("data") if isinstance(value, Mapping) else value
    if not isinstance(entries, list):
        entries = [value]
    return tuple(fault for fault in map(read_fault, entries) if fault is not None)


def _metadata(value: object) -> dict[str, str]:
    texts = ((str(key), read_text(item)) for key, item in _mapping(value).items())
    return {key: text for key, text in texts if text is not None}


def _number_of_requests(value: object) -> int | None:
    count = read_count(value)
    return count if count is None or count <= _MOST_REQUESTS else None


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
