"""Destinations: where the results of a request go, as `delivery_config` says it."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from batching.errors import BadInput
from batching.faults import faults_of

_LONGEST_URL = 2_000
_HIDDEN = "***"
_ShortName = Annotated[str, Field(max_length=255)]


class _Destination(BaseModel):
    """What all destinations share: no further keys, no conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileDestination(_Destination):
    """The outbox folder of the job."""

    type: Literal["file"]


class WebhookDestination(_Destination):
    """One POST a result to this address."""

    type: Literal["webhook"]
    webhook_url: Annotated[str, Field(max_length=_LONGEST_URL)]

    @field_validator("webhook_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return checked_url(value)


class RabbitMQDestination(_Destination):
    """One message a result, to a queue or to an exchange with a routing key."""

    type: Literal["rabbitmq"]
    rabbitmq_queue: _ShortName | None = None
    rabbitmq_exchange: _ShortName | None = Field(
        None, validation_alias=AliasChoices("rabbitmq_exchange", "exchange")
    )
    rabbitmq_routing_key: _ShortName | None = Field(
        None, validation_alias=AliasChoices("rabbitmq_routing_key", "routing_key")
    )

    @model_validator(mode="after")
    def _check_target(self) -> "RabbitMQDestination":
        if self.rabbitmq_queue and (self.rabbitmq_exchange or self.rabbitmq_routing_key):
            raise ValueError("give either rabbitmq_queue, or rabbitmq_exchange and routing key")
        if not self.rabbitmq_queue and not self.rabbitmq_exchange:
            raise ValueError("rabbitmq_queue (or rabbitmq_exchange and routing key) is missing")
        return self


class NamedDestination(_Destination):
    """A destination that the operator has defined under this name."""

    type: Literal["named"]
    name: Annotated[str, Field(min_length=1, max_length=255)]


Destination = Annotated[
    FileDestination | WebhookDestination | RabbitMQDestination | NamedDestination,
    Field(discriminator="type"),
]
_adapter: TypeAdapter[Destination] = TypeAdapter(Destination)


def read_destination(config: object) -> Destination:
    """Return the destination that the JSON value describes; BadInput names all faults."""
    try:
        return _adapter.validate_python(config)
    except ValidationError as error:
        raise BadInput("delivery_config: " + "; ".join(faults_of(error))) from None


def parse_destination(text: str | bytes) -> Destination:
    """Return the destination behind a JSON text; BadInput names all faults."""
    try:
        config = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError as error:
        raise BadInput(f"delivery_config: {error}") from None
    return read_destination(config)


def canonical_json(destination: Destination) -> str:
    """Return the one text under which equal destinations are stored and compared."""
    return json.dumps(
        destination.model_dump(exclude_none=True),
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Which destinations this installation can deliver to, as it is set up now."""

    names: frozenset[str] = frozenset()
    """The named destinations that are defined."""
    has_broker: bool = False
    """Whether RABBITMQ_URL is set."""

    def why_not(self, destination: Destination) -> str | None:
        """Return why nothing can be delivered there, or None if it can."""
        if destination.type == "webhook" and has_credentials(destination.webhook_url):
            return (
                "delivery_config: webhook_url contains a user name or a password, which everybody "
                "could read who reads requests: use a named destination, whose secrets stay out"
            )
        if destination.type == "rabbitmq" and not self.has_broker:
            return "delivery_config: RABBITMQ_URL is not set here, so there is no broker to use"
        if destination.type == "named" and destination.name not in self.names:
            return (
                f"delivery_config: no destination is named {destination.name!r}; "
                f"defined are: {', '.join(sorted(self.names)) or 'none'}"
            )
        return None


def has_credentials(url: str) -> bool:
    """Return whether a user name or a password stands in the address."""
    return "@" in urlsplit(url).netloc


def shown_config(text: str) -> dict[str, Any]:
    """Return what readers may see of a destination: an address without what may be secret."""
    config: dict[str, Any] = json.loads(text)
    if "webhook_url" in config:
        parts = urlsplit(config["webhook_url"])
        host = parts.netloc.rpartition("@")[2]
        query = _HIDDEN if parts.query else ""
        fragment = _HIDDEN if parts.fragment else ""
        config["webhook_url"] = urlunsplit((parts.scheme, host, parts.path, query, fragment))
    return config


def shown_text(text: str | None) -> str | None:
    """Return the same as JSON text; None for no destination."""
    return None if text is None else json.dumps(shown_config(text), ensure_ascii=False)


def target_of(destination: Destination) -> str:
    """Return what the destination shares pace and patience with: the target.

    All addresses of one web server are one target, so that a dead server is not called for each
    of them; a queue, a routing key of an exchange and a named destination are one each.
    """
    if destination.type == "webhook":
        parts = urlsplit(destination.webhook_url)
        port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
        return f"webhook:{parts.scheme.lower()}://{_bracketed(parts.hostname or '')}:{port}"
    if destination.type == "rabbitmq":
        if destination.rabbitmq_queue:
            return f"rabbitmq:{destination.rabbitmq_queue}"
        routing_key = destination.rabbitmq_routing_key or ""
        return f"rabbitmq:{destination.rabbitmq_exchange}/{routing_key}"
    return f"named:{destination.name}" if destination.type == "named" else "file"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def checked_url(value: str) -> str:
    """Return the address if it can be called; ValueError says what is wrong with it."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from None
    if parts.scheme.lower() not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not host:
        raise ValueError("names no host")
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("must not contain spaces or control characters")
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value
