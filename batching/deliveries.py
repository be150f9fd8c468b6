"""Deliveries: what is brought to a destination, and what became of one try."""

from dataclasses import dataclass
from enum import StrEnum

from batching.wire import RequestRef, encode_wire_id

LONGEST_EXCERPT = 1_024
"""Characters of an answer that are kept with an attempt."""


class Outcome(StrEnum):
    """What became of one attempt; the words of the reference contract and some more."""

    SUCCESS = "success"
    AUTHORIZATION_ERROR = "authorization_error"
    """401 or 403, or the broker refuses the user."""
    HTTP_STATUS_NOT_2XX = "http_status_not_2xx"
    """Any other status; redirects are not followed, so 3xx too."""
    GONE = "gone"
    """410: the receiver wants nothing more at this address."""
    THROTTLED = "throttled"
    """429, or 502, 503, 504: the receiver asks for less."""
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    """The host is, or resolves to, a private address that no setting allows."""
    NOT_ACCEPTED = "not_accepted"
    """The receiver took the request and named this result as failed."""
    EXCHANGE_NOT_FOUND = "exchange_not_found"
    QUEUE_NOT_FOUND = "queue_not_found"
    """No queue takes the message: it came back although the broker acknowledged it."""
    REFUSED_BY_BROKER = "refused_by_broker"
    """The broker answered with a nack, as a full queue does."""
    RABBITMQ_NOT_CONFIGURED = "rabbitmq_not_configured"
    DESTINATION_UNKNOWN = "destination_unknown"
    """The named destination is not defined, or its secrets cannot be read."""
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One result on its way to one destination."""

    delivery_id: int
    key: str
    """The idempotency key: the same at every attempt to deliver this result."""
    request_id: str
    """The id of the request, unique in this installation."""
    custom_id: str
    payload: bytes
    """The result line as it is delivered, without a newline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What became of one message at one attempt."""

    outcome: Outcome
    duration_seconds: float
    status_code: int | None = None
    excerpt: str | None = None
    """The beginning of what the other side said, for people."""
    retry_after_seconds: float | None = None
    """How long the other side asks to be left alone."""

    @property
    def is_success(self) -> bool:
        """Whether the destination has the result."""
        return self.outcome is Outcome.SUCCESS


def idempotency_key(installation: str, ref: RequestRef, result_id: int) -> str:
    """Return the key under which receivers recognise a result that they had before.

    It names the result, not only the request: a request that an operator ran again has a
    further result, which is news. It holds no dot, as Standard Webhooks demands.
    """
    label = f"{result_id}" if result_id >= 0 else f"own{-result_id}"
    return f"obm-{encode_wire_id(installation, ref)}-{label}"
