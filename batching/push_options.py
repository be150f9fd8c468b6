"""How results are pushed to a destination: modes, pace, patience, secrets (resolved)."""

from dataclasses import dataclass, field
from enum import StrEnum


class WebhookMode(StrEnum):
    """How many results one POST carries."""

    SINGLE = "single"
    BATCH = "batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookOptions:
    """How one target is called; secrets are in here in clear, so it is never logged."""

    mode: WebhookMode = WebhookMode.SINGLE
    most_results: int = 100
    """Results a POST in batch mode."""
    longest_wait_seconds: float = 0.5
    """How long a POST in batch mode waits to fill."""
    gzip: bool = False
    """Whether the body of a POST in batch mode is compressed."""
    concurrency: int = 8
    """POSTs under way at the same time."""
    rate_per_second: float | None = None
    """POSTs begun a second; None: no limit."""
    timeout_seconds: float = 30.0
    """From beginning to end of one POST."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Signing secrets, the newest first; two while they are rotated, none to send unsigned."""
    final_statuses: frozenset[int] = frozenset()
    """Statuses after which a result is not tried again (410 always is)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RabbitMQRoute:
    """Where messages are published: an exchange ("" is the default one) and a routing key."""

    exchange: str
    routing_key: str
    declare: bool = False
    """Whether the queue named by the routing key is declared (durable, quorum) when it is not
    there; possible on the default exchange only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RabbitMQOptions:
    """How messages for one target are made."""

    most_results: int = 1
    """Results a message; above 1 it is NDJSON."""
