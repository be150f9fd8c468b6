"""What commands begin with: settings, the data directory, a view of the ledger, a console."""

import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

from batching.errors import BadInput, ConfigurationError
from batching.faults import faults_of
from batching.settings import Settings

if TYPE_CHECKING:
    from storage.directory import DataDirectory
    from storage.ledger import Ledger, Transaction

_WIDTH_OF_A_PIPE = 160
HOW_TO_BEGIN = (
    "`obm submit FILE` puts a request file in, `obm up` works on it, `obm demo` shows it all; "
    "if there is one elsewhere, set OBM_DATA_DIR to it"
)


def load_settings() -> Settings:
    """Return the settings in force; ConfigurationError names every fault at once."""
    try:
        return Settings()
    except ValidationError as error:
        faults = "".join(f"\n  {fault}" for fault in faults_of(error))
        raise ConfigurationError(
            f"these settings cannot be used:{faults}\nCorrect them in the environment or in .env."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError("the file .env is not UTF-8: save it as UTF-8") from None


def data_directory(settings: Settings) -> "DataDirectory":
    """Return the data directory of the settings, whether it is there or not."""
    from storage.directory import DataDirectory  # noqa: PLC0415 - not every command needs it

    return DataDirectory(settings.data_dir.absolute())


def existing_directory(settings: Settings) -> "DataDirectory":
    """Return the data directory; ConfigurationError says how to begin if there is none."""
    directory = data_directory(settings)
    if not directory.inbox.is_dir() and not directory.ledger.exists():
        raise ConfigurationError(f"there is no data directory {directory.root} yet: {HOW_TO_BEGIN}")
    return directory


@contextmanager
def reading(directory: "DataDirectory") -> "Iterator[Transaction | None]":
    """Give a read-only view of the ledger; None while nothing was ever taken in."""
    from storage.inquiries import check_schema  # noqa: PLC0415 - not every command needs it
    from storage.snapshots import snapshot  # noqa: PLC0415 - not every command needs it

    if not directory.ledger.exists():
        yield None
        return
    with snapshot(directory, max_age_seconds=0.5) as reader:
        check_schema(reader)
        yield reader


def open_ledger(settings: Settings) -> "Ledger":
    """Return the ledger of an existing data directory, to change something in it."""
    from storage.ledger import Ledger  # noqa: PLC0415 - not every command needs it

    directory = existing_directory(settings)
    if not directory.ledger.exists():
        raise ConfigurationError(
            f"nothing was taken in yet in {directory.root}: start `obm up`, which takes in what "
            "lies in the inbox"
        )
    return Ledger.open(directory, memory_bytes=settings.ledger_memory_bytes)


def job_id_of(reader: "Transaction | None", name: str) -> int:
    """Return the id of the job; BadInput with the nearest names if there is none."""
    from storage.jobs import find_job, job_names  # noqa: PLC0415 - not every command needs it

    job_id = find_job(reader, name) if reader is not None else None
    if job_id is not None:
        return job_id
    raise BadInput(_unknown_job(name, job_names(reader) if reader is not None else []))


def _unknown_job(name: str, names: Sequence[str]) -> str:
    if not names:
        return f"there is no job {name!r}, nor any other yet: {HOW_TO_BEGIN}"
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    near = near or [other for other in names if name.lower() in other.lower()][:3]
    if near:
        return f"there is no job {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"there is no job {name!r}: `obm jobs` lists the {len(names)} that there are"


def pipeline_is_running(directory: "DataDirectory") -> bool:
    """Return whether a pipeline process has lately said that it works on this directory."""
    from storage.health import read_health  # noqa: PLC0415 - not every command needs it

    health = read_health(directory.health, "pipeline")
    return health is not None and health.state == "running" and health.is_fresh(datetime.now(UTC))


def out() -> Console:
    """Return the console for what a person asked to see; names are never read as markup."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    return Console(highlight=False, markup=False, emoji=False, width=width)


def say(sentence: str, *, style: str | None = None) -> None:
    """Print a sentence, broken only where the terminal breaks it."""
    out().print(sentence, style=style, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value for scripts: JSON, times in ISO 8601, money as text."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=_plain)
    sys.stdout.write("\n")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
