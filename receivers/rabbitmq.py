"""Requests from RabbitMQ: nothing is acknowledged before it is durable, whatever goes wrong."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pika.exceptions import AMQPError

from batching.errors import ConfigurationError
from batching.requests import ReadingRules
from batching.settings import Settings
from clients.rabbitmq_addresses import Address
from receivers.rabbitmq_connection import Fault, Pauses, connected, fault_of
from receivers.rabbitmq_consuming import Consuming, ConsumingEnded, Surroundings
from receivers.rabbitmq_source import Source
from receivers.rabbitmq_storing import Storing
from receivers.rabbitmq_topology import prepare
from storage.destination_table import reach_of
from storage.directory import DataDirectory
from storage.health import HealthFile
from storage.intake_gate import read_pause
from storage.intake_log import IntakeLog, seal_abandoned_logs
from storage.quarantine import Quarantine

ROLE: Final = "consumer"
LEAST_PAUSE_WHEN_REFUSED_SECONDS: Final = 5.0
_STEADY_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 0.25

_LOG = logging.getLogger(__name__)


class RabbitMQIntake:
    """Takes requests from the broker into the data directory, until it is stopped.

    Raises ConfigurationError at once for what a person must change first.
    """

    def __init__(self, settings: Settings, directory: DataDirectory) -> None:
        self._settings, self._directory = settings, directory
        self._source = Source.of(settings)
        self._address = _address_of(self._source)
        self._rules = _rules_of(settings, directory)
        self._rules_trouble: str | None = None
        self._health = HealthFile(directory.health, ROLE)
        self._pauses = Pauses()
        self._fault: Fault | None = None
        log = IntakeLog(
            directory,
            role=ROLE,
            seal_seconds=settings.seal_seconds,
            seal_bytes=settings.seal_bytes,
        )
        self._storing = Storing(log, Quarantine(directory, source="rabbitmq"))

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Consume, and connect again whenever that ends, until it is asked to stop."""
        seal_abandoned_logs(self._directory)
        self._health.report("starting")
        while not should_stop():
            fault = self._consume(should_stop)
            if fault is not None and not should_stop():
                self._tell(fault)
                self._wait(fault, should_stop)
        self._storing.close()
        self._health.report("stopped")

    def _consume(self, should_stop: Callable[[], bool]) -> Fault | None:
        """Consume on one connection; return why it ended, None if that was our wish."""
        connection: Any = None
        began = float("inf")
        try:
            connection = connected(self._address)
            prepare(connection, self._source)
            consuming = Consuming(connection, self._surroundings())
            self._begin()
            began = time.monotonic()
            consuming.run(should_stop)
        except (AMQPError, OSError) as error:
            return fault_of(error)
        except ConsumingEnded as error:
            return Fault(reason=str(error))
        finally:
            if time.monotonic() - began >= _STEADY_SECONDS:
                self._pauses.reset()
            if should_stop():
                self._storing.close()  # before the farewell, which a hanging broker does not answer
            _close(connection)
        return None

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            queue=self._source.queue,
            storing=self._storing,
            rules=lambda: self._rules,
            largest_bytes=self._settings.max_request_bytes,
            is_paused=lambda: read_pause(self._directory) is not None,
            tick=self._tick,
            answered=lambda: self._health.answered("rabbitmq"),
        )

    def _begin(self) -> None:
        self._fault = None
        self._health.answered("rabbitmq")
        _LOG.info("Taking requests from %s at %s", self._source.queue, self._address.shown)

    def _tick(self, consuming: Consuming) -> None:
        self._storing.seal_if_due()
        self._storing.tell_refusals()
        self._renew_rules()
        if self._storing.trouble is not None:
            self._health.report("storage_trouble", self._storing.trouble)
        elif consuming.is_paused:
            self._health.report("paused", "intake is paused; the broker keeps the messages")
        else:
            self._health.report("running", self._storing.seal_trouble or self._rules_trouble)

    def _renew_rules(self) -> None:
        before, self._rules_trouble = self._rules_trouble, None
        try:
            self._rules = _rules_of(self._settings, self._directory)
        except ConfigurationError as error:
            self._rules_trouble = str(error)
            if self._rules_trouble != before:
                _LOG.warning("Named destinations stay as they were: %s", error)

    def _tell(self, fault: Fault) -> None:
        if fault != self._fault:
            _LOG.warning("No requests from %s: %s", self._address.shown, fault.reason)
        self._fault = fault
        self._health.report("disconnected", f"disconnected: {fault.reason}")

    def _wait(self, fault: Fault, should_stop: Callable[[], bool]) -> None:
        least_seconds = LEAST_PAUSE_WHEN_REFUSED_SECONDS if fault.is_access else 0.0
        end = time.monotonic() + self._pauses.next(least_seconds=least_seconds)
        while not should_stop() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_SECONDS))
            self._storing.seal_if_due()
            self._health.report("disconnected", f"disconnected: {fault.reason}")


def _address_of(source: Source) -> Address:
    try:
        return Address.of(source.url)
    except ValueError as error:
        raise ConfigurationError(f"RABBITMQ_URL: {error}") from None


def _rules_of(settings: Settings, directory: DataDirectory) -> ReadingRules:
    return ReadingRules.of(settings, reach=reach_of(directory, settings))


def _close(connection: Any) -> None:
    if connection is not None and connection.is_open:
        with suppress(AMQPError, OSError):
            connection.close()
