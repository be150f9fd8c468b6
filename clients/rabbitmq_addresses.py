"""The broker's URL: how it is read, and how it is shown to people."""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import pika

CONNECT_SECONDS = 4.0
HEARTBEAT_SECONDS = 30


def masked(url: str) -> str:
    """Return the URL as it may be shown: user and host, without the password and options."""
    try:
        parts = urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
    except ValueError:
        return "(unreadable URL)"
    name, separator, _ = user.partition(":")
    shown = f"{name}:***" if separator else name
    return f"{parts.scheme}://{shown}{'@' if user else ''}{host}{parts.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where the broker is."""

    parameters: Any
    """pika's own form."""
    shown: str
    """The URL without its password."""

    @classmethod
    def of(cls, url: str) -> Self:
        """Read the URL; raise ValueError, which does not repeat it, if it has faults."""
        return cls(parameters=_parameters_of(url), shown=masked(url))


def _parameters_of(url: str) -> Any:
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError, AttributeError, LookupError, OSError) as error:
        raise ValueError(f"the broker's URL cannot be read: {type(error).__name__}") from None
    parameters.socket_timeout = CONNECT_SECONDS
    parameters.stack_timeout = CONNECT_SECONDS
    parameters.connection_attempts = 1
    parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.blocked_connection_timeout = None  # messages have a deadline of their own
    return parameters
