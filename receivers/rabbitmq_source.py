"""Where requests are taken from, as the settings say it: a queue, or a binding of our own."""

from dataclasses import dataclass
from typing import Final, Self

from xxhash import xxh3_64_hexdigest

from batching.errors import ConfigurationError
from batching.settings import Settings

OWN_PREFIX: Final = "obm.intake."
_LONGEST_NAME_BYTES: Final = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The queue that is consumed, and what must be there for it."""

    url: str
    queue: str
    exchange: str | None = None
    """Set: the queue is our own and is bound to this exchange."""
    routing_key: str = ""
    is_declared: bool = False
    """Whether the queue is made when it is not there."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the source in the settings; ConfigurationError says what is wrong with them."""
        url = settings.rabbitmq_url.get_secret_value().strip() if settings.rabbitmq_url else ""
        if not url:
            raise ConfigurationError(
                "RABBITMQ_URL is not set: requests cannot be taken from a broker without it, "
                "`amqp://user:password@host:5672/`"
            )
        queue, exchange = settings.rabbitmq_input_queue, settings.rabbitmq_input_exchange
        if queue and exchange:
            raise ConfigurationError(
                "RABBITMQ_INPUT_QUEUE and RABBITMQ_INPUT_EXCHANGE are both set: requests are "
                "taken from a queue or from an exchange, so leave one of them out"
            )
        if exchange:
            return cls._bound(url, exchange, settings.rabbitmq_input_routing_key)
        return cls._queue(url, queue, settings)

    @classmethod
    def _queue(cls, url: str, queue: str | None, settings: Settings) -> Self:
        if settings.rabbitmq_input_routing_key:
            raise ConfigurationError(
                "RABBITMQ_INPUT_ROUTING_KEY is for RABBITMQ_INPUT_EXCHANGE, which is not set: "
                "set it, or leave the routing key out"
            )
        if not queue:
            raise ConfigurationError(
                "nothing says where requests are taken from: set RABBITMQ_INPUT_QUEUE, or "
                "RABBITMQ_INPUT_EXCHANGE with RABBITMQ_INPUT_ROUTING_KEY"
            )
        _check_name("RABBITMQ_INPUT_QUEUE", queue)
        return cls(url=url, queue=queue, is_declared=settings.rabbitmq_declare)

    @classmethod
    def _bound(cls, url: str, exchange: str, routing_key: str | None) -> Self:
        if routing_key is None:
            raise ConfigurationError(
                "RABBITMQ_INPUT_ROUTING_KEY is not set: say which messages of "
                f"{exchange!r} are requests; empty, if it is a fanout exchange"
            )
        _check_name("RABBITMQ_INPUT_EXCHANGE", exchange)
        _check_name("RABBITMQ_INPUT_ROUTING_KEY", routing_key)
        return cls(
            url=url,
            queue=own_queue_name(exchange, routing_key),
            exchange=exchange,
            routing_key=routing_key,
            is_declared=True,
        )


def is_wanted(settings: Settings) -> bool:
    """Return whether the settings name anything to take requests from."""
    return bool(settings.rabbitmq_input_queue or settings.rabbitmq_input_exchange)


def own_queue_name(exchange: str, routing_key: str) -> str:
    """Return what our queue for this binding is called; shortened where no queue may be so long."""
    name = f"{OWN_PREFIX}{exchange}.{routing_key}"
    if len(name.encode()) <= _LONGEST_NAME_BYTES:
        return name
    return f"{OWN_PREFIX}{xxh3_64_hexdigest(name.encode())}"


def _check_name(variable: str, name: str) -> None:
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        raise ConfigurationError(f"{variable} is longer than {_LONGEST_NAME_BYTES} bytes")
