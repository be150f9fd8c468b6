"""What becomes of a message: a line for the log, or the reason why it is refused."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from batching.faults import faults_of
from batching.jobs import DEFAULT_JOB, JobSettings
from batching.line_faults import Refusal, RefusalCode
from batching.requests import ReadingRules, read_request
from storage.received_lines import received_line

JOB_HEADER: Final = "x-obm-job"
INVALID_JOB: Final = "invalid_job"
DEFECT: Final = "defect"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Why a message is no request, now and whenever it comes again."""

    code: str
    reason: str


def judge(
    body: bytes,
    headers: Mapping[str, Any] | None,
    *,
    rules: ReadingRules,
    largest_bytes: int,
    received_at_us: int,
) -> bytes | Refused:
    """Return the line of the log that the message becomes, or why it is refused."""
    try:
        return _judged(body, headers, rules, largest_bytes, received_at_us)
    except Exception as error:  # noqa: BLE001 - what ends the process comes back and ends it again
        _LOG.error("A message is put aside: unexpected %s while reading it", type(error).__name__)
        return Refused(
            code=DEFECT, reason=f"unexpected {type(error).__name__}: a defect, report it"
        )


def _judged(
    body: bytes,
    headers: Mapping[str, Any] | None,
    rules: ReadingRules,
    largest_bytes: int,
    received_at_us: int,
) -> bytes | Refused:
    if len(body) > largest_bytes:
        return _too_large(len(body), largest_bytes)
    job = DEFAULT_JOB
    if headers and (label := headers.get(JOB_HEADER)) is not None:
        if (reason := _why_no_label(label)) is not None:
            return Refused(code=INVALID_JOB, reason=reason)
        job = label
    request = read_request(body, rules)
    if isinstance(request, Refusal):
        return Refused(code=str(request.code), reason=request.reason)
    return received_line(job, received_at_us, body)


def _too_large(size: int, largest_bytes: int) -> Refused:
    return Refused(
        code=str(RefusalCode.LINE_TOO_LARGE),
        reason=(
            f"the message is {size:,} bytes; at most {largest_bytes:,} are taken "
            "(OBM_MAX_REQUEST_BYTES)"
        ),
    )


def _why_no_label(label: object) -> str | None:
    if not isinstance(label, str):
        return f"the header {JOB_HEADER} must be text"
    return _why_no_name(label)


@lru_cache(maxsize=1_024)
def _why_no_name(label: str) -> str | None:
    try:
        JobSettings(label=label)
    except ValidationError as error:
        return f"the header {JOB_HEADER} names no job: {'; '.join(faults_of(error))}"
    return None
