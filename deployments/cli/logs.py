"""What long-running commands print while they work: one line an event, ids and figures behind."""

import logging
import sys
from typing import Final

_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET: Final = ("httpx", "httpx2", "httpcore", "openai", "asyncio")


class _EventFormatter(logging.Formatter):
    """Puts what an event carries behind its phrase, as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = [f"{name}={value}" for name, value in vars(record).items() if name not in _USUAL]
        return " ".join([line, *extra])


def begin_logging(level: str) -> None:
    """Print events of this level and above on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EventFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
