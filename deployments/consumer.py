"""The consumer role: takes requests from RabbitMQ into the data directory until it is stopped."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from batching.errors import ConfigurationError, DiskFull
from batching.settings import Settings
from deployments.cli.logs import begin_logging
from deployments.cli.surroundings import data_directory, load_settings
from receivers.rabbitmq import RabbitMQIntake
from storage.directory import DataDirectory

STOP_SECONDS: Final = 2.7
"""A broker that hangs in the middle of an answer does not keep the process longer."""
_LOOK_SECONDS: Final = 0.25
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

_LOG = logging.getLogger(__name__)


def run_consumer() -> int:
    """Take requests from the broker until SIGINT or SIGTERM; return the exit code."""
    settings = load_settings()
    _begin_logging(settings)
    directory = data_directory(settings)
    with _stop_on_signals() as should_stop:
        _create(directory, should_stop)
        RabbitMQIntake(settings, directory).run(should_stop)
    return 0


def _begin_logging(settings: Settings) -> None:
    if settings.log_level.upper() not in _LEVELS:
        raise ConfigurationError(
            f"OBM_LOG_LEVEL is {settings.log_level!r}: set it to one of {', '.join(_LEVELS)}"
        )
    begin_logging(settings.log_level)


def _create(directory: DataDirectory, should_stop: Callable[[], bool]) -> None:
    """Make the folders; a disk that is full just now is no reason to give up."""
    was_told = False
    while not should_stop():
        try:
            directory.create()
        except DiskFull as error:
            if not was_told:
                _LOG.error("%s", error)
            was_told = True
            time.sleep(_LOOK_SECONDS)
        else:
            return


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether SIGINT or SIGTERM has come."""
    limits: list[threading.Timer] = []

    def note(_number: int, _frame: FrameType | None) -> None:
        if not limits:
            limits.append(_end_in_time())

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(limits)
    finally:
        for limit in limits:
            limit.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_in_time() -> threading.Timer:
    """See to it that the process ends soon; what was acknowledged is durable at any moment."""
    limit = threading.Timer(STOP_SECONDS, os._exit, (0,))
    limit.daemon = True
    limit.start()
    return limit
