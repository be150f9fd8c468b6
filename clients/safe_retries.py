"""Trying again what may safely be done twice: bounded, with growing pauses, stoppable."""

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
import openai

from batching.errors import IncompleteDownload, ProviderUnavailable
from batching.provider import BatchFault
from batching.refusals import fault_in_body, is_account_trouble
from batching.stopping import check_stop

SAFE_ATTEMPTS = 3
FOREIGN_ERRORS = (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
_LONGEST_OBEYED_SECONDS = 10.0  # a longer Retry-After is left to the ledger's schedule
_STOP_CHECK_SECONDS = 0.2
_RETRIED_STATUSES = frozenset({408, 409, 429})
_FIRST_SERVER_ERROR = 500

_Answer = TypeVar("_Answer")


def retried(
    call: Callable[[], _Answer], *, attempts: int, pause: Callable[[float], None]
) -> _Answer:
    """Return the call's answer, trying again after errors that pass; raise the last one."""
    for attempt in range(1, attempts):
        try:
            return call()
        except (*FOREIGN_ERRORS, ProviderUnavailable, IncompleteDownload) as error:
            seconds = pause_seconds(error, attempt)
            if seconds is None:
                raise
        pause(seconds)
    return call()


def pause_seconds(error: Exception, attempt: int) -> float | None:
    """Return how long to wait before the next attempt, or None if there should be none."""
    growing = min(_FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), _LONGEST_PAUSE_SECONDS)
    growing *= 1 - 0.25 * random.random()  # noqa: S311 - spreads the load, guards no secret
    if not isinstance(error, openai.APIStatusError):
        return None if isinstance(error, httpx2.InvalidURL) else growing
    if not _may_pass(error):
        return None
    wanted = retry_after_seconds(error.response)
    if wanted is None:
        return growing
    return max(wanted, growing) if wanted <= _LONGEST_OBEYED_SECONDS else None


def retry_after_seconds(response: httpx2.Response) -> float | None:
    """Return the pause that the provider asks for, or None if it names none."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _number(response.headers.get(header))
        if seconds is not None:
            return seconds * unit
    return _seconds_until(response.headers.get("retry-after"))


def stoppable_pause(seconds: float) -> None:
    """Wait, but raise StopRequested as soon as the process is to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(left, _STOP_CHECK_SECONDS))


def fault_of(error: openai.APIStatusError) -> BatchFault:
    """Return what the provider says about an error status."""
    return fault_in_body(error.body)


def _may_pass(error: openai.APIStatusError) -> bool:
    if error.response.headers.get("x-should-retry") == "false":
        return False
    if error.status_code in _RETRIED_STATUSES:
        return not is_account_trouble(fault_of(error))
    return error.status_code >= _FIRST_SERVER_ERROR


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def _seconds_until(text: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return None if moment is None else max(0.0, moment.timestamp() - time.time())
