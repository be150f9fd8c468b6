"""Why the provider refused a whole batch or a call, as one value of a closed set."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from batching.provider import BatchFault, describe_answer, read_fault

_LIMIT = re.compile(r"\blimit\s*:\s*([\d,]+)", re.IGNORECASE)
_MOST_DIGITS = 18  # more are no limit, and nothing could store them
_MISSING_FILE = re.compile(r"cannot find file|no such file", re.IGNORECASE)
_CLOSED_ACCOUNT = re.compile(
    r"account[^.]{0,40}(deactivated|suspended|disabled|not active)"
    r"|exceeded your current quota|incorrect api key",
    re.IGNORECASE,
)
_SERVER_TROUBLE = re.compile(
    r"server had an error|internal (server )?error|temporarily unavailable|rate limit reached",
    re.IGNORECASE,
)

SHOWN_LINES = 20
TOKEN_LIMIT_CODE = "token_limit_exceeded"  # noqa: S105 - the provider's error code, no secret
ACCOUNT_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "invalid_api_key",
        "account_deactivated",
        "account_suspended",
        "access_terminated",
        "organization_deactivated",
        "project_archived",
    }
)
FOR_ALL_CODES = frozenset(
    {
        "model_not_found",
        "model_not_available",
        "model_not_supported",
        "unsupported_model",
        "invalid_model",
        "invalid_endpoint",
        "unsupported_endpoint",
        "endpoint_not_supported",
    }
)
"""What is said of the model or the endpoint holds for every request of a batch."""
TOO_LARGE_CODE = "file_too_large"
TOO_LARGE_CODES = frozenset(
    {TOO_LARGE_CODE, "request_too_large", "too_many_tasks", "too_many_requests_in_file"}
)
PASSING_CODES = frozenset(
    {
        "rate_limit_exceeded",
        "rate_limit_error",
        "too_many_requests",
        "server_error",
        "internal_error",
        "internal_server_error",
        "service_unavailable",
        "overloaded",
        "timeout",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimit:
    """The lane's enqueued tokens are used up; nothing is wrong with the requests."""

    limit_tokens: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNotVisible:
    """The provider does not find the input file, mostly because it is new."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Trouble on the provider's side that passes by itself."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """One line of the input file that the provider does not accept, as it numbers it."""

    line: int
    code: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLines:
    """The lines that the provider named; the others of the file may go again."""

    lines: tuple[BadLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """The file holds more than the provider takes at once."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedForAll:
    """Refused for what all of its requests share: the model or the endpoint."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFile:
    """Refused for a reason that names no line."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTrouble:
    """The account must be put right first: key, credit, organisation or project."""

    code: str | None
    message: str


Refusal: TypeAlias = (
    TokenLimit
    | FileNotVisible
    | Passing
    | BadLines
    | TooLarge
    | RefusedForAll
    | WholeFile
    | AccountTrouble
)


def refusal_of(faults: Sequence[BatchFault]) -> Refusal:
    """Return the one reason that decides what happens to a refused batch."""
    if (fault := _first(faults, is_account_trouble)) is not None:
        return AccountTrouble(code=fault.code, message=fault.message)
    if (fault := _first(faults, is_token_limit)) is not None:
        return TokenLimit(limit_tokens=limit_in(fault.message), message=fault.message)
    if lines := tuple(_bad_lines(faults)):
        return BadLines(lines=lines)
    if (fault := _first(faults, is_file_missing)) is not None:
        return FileNotVisible(message=fault.message)
    return _without_a_place(faults)


def fault_in_body(body: object) -> BatchFault:
    """Return the fault that the body of an HTTP error tells, whatever its shape."""
    inner = body
    if isinstance(body, Mapping):
        inner = body.get("error") or body.get("detail") or body
    fault = read_fault(inner)
    return BatchFault(message=describe_answer(body)) if fault is None else fault


def is_account_trouble(fault: BatchFault) -> bool:
    """Return whether nothing will work before somebody puts the account right."""
    return fault.code in ACCOUNT_CODES or _CLOSED_ACCOUNT.search(fault.message) is not None


def is_token_limit(fault: BatchFault) -> bool:
    """Return whether only the enqueued-token limit is in the way."""
    return fault.code == TOKEN_LIMIT_CODE or "enqueued token limit" in fault.message.lower()


def is_passing(fault: BatchFault) -> bool:
    """Return whether the fault is the provider's own and passes by itself."""
    return fault.code in PASSING_CODES or _SERVER_TROUBLE.search(fault.message) is not None


def is_file_missing(fault: BatchFault) -> bool:
    """Return whether the provider does not find the input file."""
    return _MISSING_FILE.search(fault.message) is not None


def limit_in(message: str) -> int | None:
    """Return the number after `Limit:` in a token-limit message, or None."""
    match = _LIMIT.search(message)
    digits = match[1].replace(",", "") if match else ""
    limit = int(digits) if digits and len(digits) <= _MOST_DIGITS else 0
    return limit or None


def reason_of(refusal: Refusal) -> str:
    """Return what the provider said, in one line; of many lines the first ones."""
    match refusal:
        case BadLines(lines=lines):
            told = [
                f"line {line.line}: {line.code}: {line.message}" for line in lines[:SHOWN_LINES]
            ]
            return "; ".join(told)
        case TokenLimit(message=message) | FileNotVisible(message=message):
            return message
        case _:
            return f"{refusal.code}: {refusal.message}" if refusal.code else refusal.message


def code_of(refusal: Refusal) -> str | None:
    """Return the provider's code, or None if it gave none."""
    match refusal:
        case BadLines(lines=lines):
            return lines[0].code
        case TokenLimit():
            return TOKEN_LIMIT_CODE
        case FileNotVisible():
            return None
        case _:
            return refusal.code


def _without_a_place(
    faults: Sequence[BatchFault],
) -> TooLarge | RefusedForAll | WholeFile | Passing:
    if (fault := _first(faults, lambda fault: fault.code in TOO_LARGE_CODES)) is not None:
        return TooLarge(code=fault.code, message=fault.message)
    if (fault := _first(faults, lambda fault: fault.code in FOR_ALL_CODES)) is not None:
        return RefusedForAll(code=fault.code, message=fault.message)
    lasting = _first(faults, lambda fault: not is_passing(fault))
    if lasting is not None:
        return WholeFile(code=lasting.code, message=lasting.message)
    if faults:
        return Passing(code=faults[0].code, message=faults[0].message)
    return WholeFile(code=None, message="the provider gave no reason")


def _bad_lines(faults: Iterable[BatchFault]) -> Iterable[BadLine]:
    for fault in faults:
        if fault.line is not None and not is_passing(fault):
            yield BadLine(line=fault.line, code=fault.code, message=fault.message)


def _first(
    faults: Iterable[BatchFault], is_meant: Callable[[BatchFault], bool]
) -> BatchFault | None:
    return next((fault for fault in faults if is_meant(fault)), None)
