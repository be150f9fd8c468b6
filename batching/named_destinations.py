"""Named destinations: what an operator defines in `destinations.toml`, secrets by reference."""

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from batching.destinations import checked_url
from batching.errors import ConfigurationError
from batching.faults import faults_of
from batching.push_options import WebhookMode

REFERENCES = ("env:", "file:")
"""A value that begins so is not meant itself: the variable, or the file, holds it."""


def is_reference(value: str) -> bool:
    """Return whether the value says where a secret is instead of being one."""
    return value.startswith(REFERENCES) and len(value) > len("file:")


def _checked_reference(value: str) -> str:
    if not is_reference(value):
        raise ValueError("must be `env:NAME` or `file:PATH`, so that no secret stands here")
    return value


def _checked_address(value: str) -> str:
    return value if is_reference(value) else checked_url(value)


_Reference = Annotated[str, AfterValidator(_checked_reference)]
_Address = Annotated[str, Field(max_length=2_000), AfterValidator(_checked_address)]
_Status = Annotated[int, Field(ge=300, le=599)]


class _Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NamedWebhook(_Definition):
    """A webhook with its pace, patience and secrets."""

    type: Literal["webhook"]
    url: _Address
    mode: WebhookMode = WebhookMode.SINGLE
    most_results: int = Field(100, ge=1, le=10_000)
    longest_wait_milliseconds: int = Field(500, ge=0, le=60_000)
    gzip: bool = False
    concurrency: int | None = Field(None, ge=1, le=200)
    rate_per_second: float | None = Field(None, gt=0)
    timeout_seconds: float | None = Field(None, gt=0, le=600)
    headers: dict[str, str] = Field(default_factory=dict)
    secrets: tuple[_Reference, ...] = Field((), max_length=2)
    final_statuses: frozenset[_Status] = frozenset()


class NamedRabbitMQ(_Definition):
    """A queue, or an exchange with a routing key, of the broker at RABBITMQ_URL."""

    type: Literal["rabbitmq"]
    queue: str | None = Field(None, min_length=1, max_length=255)
    exchange: str | None = Field(None, min_length=1, max_length=255)
    routing_key: str | None = Field(None, max_length=255)
    declare: bool = False
    most_results: int = Field(1, ge=1, le=10_000)

    @model_validator(mode="after")
    def _check_target(self) -> "NamedRabbitMQ":
        if (self.queue is None) == (self.exchange is None):
            raise ValueError("give either queue, or exchange and routing_key")
        if self.declare and self.queue is None:
            raise ValueError("declare is for a queue; an exchange is yours to make")
        return self


NamedDefinition = Annotated[NamedWebhook | NamedRabbitMQ, Field(discriminator="type")]
_adapter: TypeAdapter[dict[str, NamedDefinition]] = TypeAdapter(dict[str, NamedDefinition])


def read_definitions(text: str, *, place: str) -> Mapping[str, NamedDefinition]:
    """Return the destinations of a `destinations.toml`; ConfigurationError names every fault."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
        return _adapter.validate_python(tables)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{place} is not TOML: {error}") from None
    except ValidationError as error:
        faults = "".join(f"\n  {fault}" for fault in faults_of(error))
        raise ConfigurationError(f"{place} cannot be used:{faults}") from None
