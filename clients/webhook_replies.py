"""What a receiver's answer, or its silence, means for a delivery."""

import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import httpx

from batching.deliveries import LONGEST_EXCERPT, Outcome, Reply
from clients.addresses import AddressNotAllowed

LONGEST_PAUSE_SECONDS: Final = 86_400.0
"""A receiver that asks for more is asked again after a day all the same."""

_SHORTEST_SECRET = 6
"""Shorter words of a header would blot out half of what a receiver says."""

_OUTCOMES: Final[Mapping[int, Outcome]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: Outcome.AUTHORIZATION_ERROR,
        HTTPStatus.FORBIDDEN: Outcome.AUTHORIZATION_ERROR,
        HTTPStatus.GONE: Outcome.GONE,
        HTTPStatus.TOO_MANY_REQUESTS: Outcome.THROTTLED,
        HTTPStatus.BAD_GATEWAY: Outcome.THROTTLED,
        HTTPStatus.SERVICE_UNAVAILABLE: Outcome.THROTTLED,
        HTTPStatus.GATEWAY_TIMEOUT: Outcome.THROTTLED,
    }
)


class ReplyWriter:
    """Makes replies that never repeat what must stay secret."""

    def __init__(self, secrets: Iterable[str], headers: Iterable[str]) -> None:
        """Take what receivers might repeat: signing secrets, and the values of headers."""
        words = {word for value in headers for word in (value, *value.split())}
        known = {*secrets, *(word for word in words if len(word) >= _SHORTEST_SECRET)}
        # The longest first: one may be part of another.
        self._secrets = sorted(filter(None, known), key=len, reverse=True)

    def knowing(self, headers: Iterable[str]) -> "ReplyWriter":
        """Return a writer that hides the values of these headers as well."""
        return ReplyWriter(self._secrets, headers)

    def of_response(self, response: httpx.Response, seconds: float) -> Reply:
        """Return what this answer means."""
        status = response.status_code
        outcome = Outcome.SUCCESS if response.is_success else _OUTCOMES.get(status)
        said = response.content.decode(errors="replace")
        if location := response.headers.get("location") if response.is_redirect else None:
            said = f"It points to {location}, and redirects are not followed. {said}"
        throttled = outcome is Outcome.THROTTLED
        return Reply(
            outcome=outcome or Outcome.HTTP_STATUS_NOT_2XX,
            duration_seconds=seconds,
            status_code=status,
            excerpt=self.excerpt(said),
            retry_after_seconds=pause_in(response.headers) if throttled else None,
        )

    def of_error(self, error: Exception, place: str, seconds: float) -> Reply:
        """Return what an attempt without an answer means; `place` is host and port."""
        outcome, said = _told(error, place, seconds)
        return Reply(outcome=outcome, duration_seconds=seconds, excerpt=self.excerpt(said))

    def excerpt(self, text: str) -> str | None:
        """Return the beginning of a text, on one line, without secrets; None if it is empty."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        line = " ".join(text.split())
        return "".join(filter(str.isprintable, line))[:LONGEST_EXCERPT] or None


def _told(error: Exception, place: str, seconds: float) -> tuple[Outcome, str]:
    if isinstance(error, AddressNotAllowed):
        return Outcome.ADDRESS_NOT_ALLOWED, str(error)
    if isinstance(error, httpx.ConnectTimeout):
        return Outcome.TIMEOUT, f"{place}: no connection in {seconds:.1f} s."
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Outcome.TIMEOUT, f"{place}: no whole answer in {seconds:.1f} s."
    if isinstance(error, httpx.ConnectError):
        return Outcome.CONNECTION_ERROR, f"{place} cannot be reached: {error}."
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Outcome.OTHER, f"The address cannot be called ({error}): correct the destination."
    return Outcome.CONNECTION_ERROR, f"{place}: {error}."


def failures_in(response: httpx.Response, *, is_cut: bool) -> dict[str, str | None] | None:
    """Return reasons by the keys that a 2xx answer names as failed; None: they are unknown.

    They are unknown if the answer names failed ones, but is too long to be read to its end.
    """
    content = response.content.lstrip()
    if not content.startswith(b"{"):
        return {}
    try:
        failed = json.loads(content).get("failed")
    except (ValueError, RecursionError):
        return None if is_cut and b'"failed"' in content else {}
    named = map(_named, failed) if isinstance(failed, list) else ()
    return dict(each for each in named if each is not None)


def _named(entry: Any) -> tuple[str, str | None] | None:
    if isinstance(entry, str):
        return entry, None
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return None
    reason = entry.get("reason")
    return entry["id"], reason if isinstance(reason, str) else None


def pause_in(headers: httpx.Headers) -> float | None:
    """Return how long the receiver wants to be left alone: at most a day, None if unsaid."""
    text = headers.get("retry-after", "").strip()
    seconds = float(text) if text.isdecimal() and text.isascii() else _seconds_until(text)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS)


def _seconds_until(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
