"""The gate in front of intake: a file that is there while nothing new is taken, across restarts."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from storage.directory import DataDirectory
from storage.durable import sync_folder, write_durably

_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakePause:
    """Why intake is paused."""

    since: datetime
    actor: str
    reason: str | None = None


def read_pause(directory: DataDirectory) -> IntakePause | None:
    """Return the pause in force, or None while requests are taken.

    A file that cannot be understood pauses as well: somebody wanted it to.
    """
    try:
        content = directory.intake_pause.read_bytes()
        return msgspec.json.decode(content, type=IntakePause)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        return IntakePause(since=datetime.now(UTC), actor=_UNKNOWN)


def pause_intake(directory: DataDirectory, *, actor: str, reason: str | None) -> bool:
    """Let no more requests in; return whether that is new."""
    if read_pause(directory) is not None:
        return False
    pause = IntakePause(since=datetime.now(UTC), actor=actor, reason=reason)
    write_durably(directory.intake_pause, msgspec.json.encode(pause) + b"\n")
    return True


def resume_intake(directory: DataDirectory) -> bool:
    """Let requests in again; return whether they were kept out."""
    was_paused = directory.intake_pause.exists()
    directory.intake_pause.unlink(missing_ok=True)
    sync_folder(directory.root)
    return was_paused
