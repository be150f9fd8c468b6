"""Small files that nobody but their owner may read."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from storage.durable import disk_errors, publish, temporary_path

_OWNER_ONLY: Final = 0o600


def write_privately(path: Path, content: bytes) -> None:
    """Put this content at the path: synced, never seen half-written, readable by its owner."""
    temporary = temporary_path(path)
    try:
        with disk_errors(temporary), open(temporary, "wb", opener=_for_its_owner) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _for_its_owner(path: str, flags: int) -> int:
    with suppress(FileNotFoundError):  # what a crash left may be readable for others
        Path(path).unlink()
    return os.open(path, flags | os.O_CREAT, _OWNER_ONLY)
