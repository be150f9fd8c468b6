"""The operator's `destinations.toml`: read when it changes, secrets fetched when they are used."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from batching.destinations import Reach
from batching.errors import ConfigurationError
from batching.named_destinations import NamedDefinition, is_reference, read_definitions
from batching.settings import Settings
from storage.directory import DataDirectory


def destinations_path(directory: DataDirectory, settings: Settings) -> Path:
    """Return where named destinations are defined."""
    return settings.destinations_file or directory.root / "destinations.toml"


def named_destinations(
    directory: DataDirectory, settings: Settings
) -> Mapping[str, NamedDefinition]:
    """Return the definitions in force; ConfigurationError names every fault of the file."""
    path = destinations_path(directory, settings)
    try:
        found = path.stat()
    except FileNotFoundError:
        if settings.destinations_file is not None:
            raise ConfigurationError(f"OBM_DESTINATIONS names {path}, which is not there") from None
        return {}
    return _read(path, found.st_mtime_ns, found.st_size)


def reach_of(directory: DataDirectory, settings: Settings) -> Reach:
    """Return which destinations can be delivered to, as everything is set up now."""
    return Reach(
        names=frozenset(named_destinations(directory, settings)),
        has_broker=settings.rabbitmq_url is not None,
    )


def resolved(value: str, *, what: str) -> str:
    """Return what a reference stands for, or the value itself; ConfigurationError if it is away."""
    if not is_reference(value):
        return value
    kind, _, place = value.partition(":")
    if kind == "env":
        if not os.environ.get(place):
            raise ConfigurationError(f"{what}: the variable {place} is not set")
        return os.environ[place]
    try:
        return Path(place).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{what}: {place} cannot be read ({error})") from None


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int, _size: int) -> Mapping[str, NamedDefinition]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return read_definitions(text, place=str(path))
