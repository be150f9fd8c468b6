"""Opening the way to a target, as the settings and `destinations.toml` are at this moment."""

from batching.deliveries import Outcome
from batching.destinations import Destination
from batching.errors import ConfigurationError
from batching.named_destinations import NamedRabbitMQ, NamedWebhook
from batching.push_options import RabbitMQOptions, RabbitMQRoute, WebhookMode, WebhookOptions
from storage.destination_table import named_destinations, resolved
from tasks.push_channels import Channel, Messages, WebhookBatches, WebhookSingles
from tasks.resources import Resources


class NoWay(Exception):
    """Nothing can be sent to the target as things are set up."""

    def __init__(self, outcome: Outcome, problem: str) -> None:
        super().__init__(problem)
        self.outcome = outcome


def open_channel(destination: Destination, resources: Resources) -> tuple[Channel, str]:
    """Return the way to the destination's target, and the address of a named webhook.

    NoWay says why there is none.
    """
    try:
        return _open(destination, resources)
    except (ConfigurationError, ValueError) as error:
        raise NoWay(Outcome.DESTINATION_UNKNOWN, str(error)) from error


def _open(destination: Destination, resources: Resources) -> tuple[Channel, str]:
    if destination.type == "webhook":
        from clients.webhooks import default_sender_options  # noqa: PLC0415 - imports httpx

        return _webhook(default_sender_options(resources.settings), resources), ""
    if destination.type == "rabbitmq":
        route = RabbitMQRoute(
            exchange=destination.rabbitmq_exchange or "",
            routing_key=destination.rabbitmq_queue or destination.rabbitmq_routing_key or "",
        )
        return _messages(route, RabbitMQOptions(), resources), ""
    if destination.type == "named":
        return _named(destination.name, resources)
    raise NoWay(Outcome.DESTINATION_UNKNOWN, "files are not pushed")


def _named(name: str, resources: Resources) -> tuple[Channel, str]:
    definition = named_destinations(resources.directory, resources.settings).get(name)
    if definition is None:
        problem = f"no destination is named {name!r} any more: define it, or cancel its deliveries"
        raise NoWay(Outcome.DESTINATION_UNKNOWN, problem)
    if isinstance(definition, NamedRabbitMQ):
        route = RabbitMQRoute(
            exchange=definition.exchange or "",
            routing_key=definition.queue or definition.routing_key or "",
            declare=definition.declare,
        )
        options = RabbitMQOptions(most_results=definition.most_results)
        return _messages(route, options, resources), ""
    url = resolved(definition.url, what=f"url of {name!r}")
    return _webhook(_options(name, definition, resources), resources), url


def _options(name: str, definition: NamedWebhook, resources: Resources) -> WebhookOptions:
    settings = resources.settings
    return WebhookOptions(
        mode=definition.mode,
        most_results=definition.most_results,
        longest_wait_seconds=definition.longest_wait_milliseconds / 1_000,
        gzip=definition.gzip,
        concurrency=definition.concurrency or settings.webhook_concurrency,
        rate_per_second=definition.rate_per_second,
        timeout_seconds=definition.timeout_seconds or settings.webhook_timeout_seconds,
        headers=tuple(
            (header, resolved(value, what=f"header {header} of {name!r}"))
            for header, value in definition.headers.items()
        ),
        secrets=tuple(
            resolved(secret, what=f"a secret of {name!r}") for secret in definition.secrets
        ),
        final_statuses=definition.final_statuses,
    )


def _webhook(options: WebhookOptions, resources: Resources) -> Channel:
    from clients.addresses import AddressGuard  # noqa: PLC0415 - only when it is used
    from clients.webhooks import WebhookSender  # noqa: PLC0415 - imports httpx

    guard = AddressGuard(resources.settings.webhook_allow_private)
    sender = WebhookSender(options, guard=guard)
    is_batch = options.mode is WebhookMode.BATCH
    return (WebhookBatches if is_batch else WebhookSingles)(sender, options)


def _messages(route: RabbitMQRoute, options: RabbitMQOptions, resources: Resources) -> Channel:
    if resources.settings.rabbitmq_url is None:
        raise NoWay(
            Outcome.RABBITMQ_NOT_CONFIGURED, "RABBITMQ_URL is not set, so there is no broker to use"
        )
    return Messages(resources.publisher, route, options)
