"""The connection to the broker: made anew with growing pauses, its faults in plain words."""

import random
from dataclasses import dataclass, field
from typing import Any, Final

from pika import BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from clients.rabbitmq_addresses import Address
from clients.rabbitmq_link import ACCESS_REFUSED, refusal_of, refusal_of_connection

CONNECTION_NAME: Final = "OpenAI Batch Manager: intake"


@dataclass(kw_only=True)
class Pauses:
    """Pauses that double from the first to the longest, each of them a little off by chance."""

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    _next_seconds: float = field(default=0.0, init=False)

    def next(self, *, least_seconds: float = 0.0) -> float:
        """Return how long to wait now."""
        seconds = max(self._next_seconds, self.first_seconds, least_seconds)
        self._next_seconds = min(2 * seconds, self.longest_seconds)
        chance = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return min(seconds * chance, self.longest_seconds)

    def reset(self) -> None:
        """Begin with the first pause again."""
        self._next_seconds = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why there is nothing to consume."""

    reason: str
    is_access: bool = False
    """Whether the broker knows us and refuses: only a person can change that."""


def connected(address: Address) -> Any:
    """Return an open connection; raise what pika raises."""
    parameters = address.parameters
    parameters.client_properties = {"connection_name": CONNECTION_NAME}
    return BlockingConnection(parameters)


def fault_of(error: BaseException) -> Fault:
    """Return what an error of pika's means for a person."""
    if isinstance(error, ChannelClosedByBroker):
        refusal = refusal_of(error) or refusal_of_connection(error)
        return Fault(reason=str(refusal), is_access=refusal.code == ACCESS_REFUSED)
    refusal = refusal_of_connection(error)
    if refusal.code == ACCESS_REFUSED:
        reason = f"the broker refuses the user, the password or the virtual host ({refusal.text})"
        return Fault(reason=reason, is_access=True)
    return Fault(reason=refusal.text)
