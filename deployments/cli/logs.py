"""What long-running commands print while they work: one line an event, ids and figures behind."""

import logging
import sys
from typing import Final

from batching.errors import StopRequested

_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET: Final = ("httpx", "httpx2", "httpcore", "openai", "asyncio")
_PREFECT: Final = "prefect"
_STORIES: Final = "prefect.flow_runs"
_ROUTINE: Final = ("Beginning flow run", "Finished in state", "View at")


class _EventFormatter(logging.Formatter):
    """Puts what an event of ours carries behind its phrase, as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if record.name.startswith(_PREFECT):
            return line
        extra = [f"{name}={value}" for name, value in vars(record).items() if name not in _USUAL]
        return " ".join([line, *extra])


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Of Prefect's routine only what each flow run did: its UI shows the rest."""
    if not record.name.startswith(_PREFECT):
        return True
    if _tells_of_a_stop(record):
        return False
    if record.levelno >= logging.WARNING:
        return True
    return record.name == _STORIES and not record.getMessage().startswith(_ROUTINE)


def _tells_of_a_stop(record: logging.LogRecord) -> bool:
    """Tell whether Prefect takes somebody's wish to stop for a failure, traceback and all."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, StopRequested) or StopRequested.__name__ in record.getMessage()


def begin_logging(level: str) -> None:
    """Print events of this level and above on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EventFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(_is_worth_a_line)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
