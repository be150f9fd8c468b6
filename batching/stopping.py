"""The wish to stop, which every long step looks at between two pieces of work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from batching.errors import StopRequested

_current: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stop_signal(event: threading.Event) -> Iterator[None]:
    """Let the code inside, and the threads it starts, stop when the event is set."""
    token = _current.set(event)
    try:
        yield
    finally:
        _current.reset(token)


def stop_requested() -> bool:
    """Return whether the running step was asked to stop."""
    event = _current.get()
    return event is not None and event.is_set()


def check_stop() -> None:
    """Raise StopRequested if the running step was asked to stop."""
    if stop_requested():
        raise StopRequested("stopping: what was begun is taken up at the next start")
