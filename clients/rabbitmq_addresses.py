"""The broker's URL: how it is read, and how it is shown to people."""

from typing import Any
from urllib.parse import urlsplit

import pika

CONNECT_SECONDS = 5.0
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


def parameters_of(url: str) -> Any:
    """Return pika's parameters for the URL; raise ValueError, without the URL, if it has faults."""
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
