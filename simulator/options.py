"""What can be set when a simulator is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_SPEED = 0.0


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """Where the simulator listens, where it keeps its state and how it behaves."""

    directory: Path
    host: str = "127.0.0.1"
    port: int = 8080
    phase_seconds: float = MAX_SPEED
    scenarios: tuple[str, ...] = ()
    api_key: str | None = None
    accounts_by_key: bool = False
    parent_process: int | None = None


def parse_speed(text: str) -> float:
    """Return the seconds a phase of a batch lasts; `max` stands for none at all."""
    if text == "max":
        return MAX_SPEED
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"speed must be `max` or a number of seconds, not {text!r}")
    return seconds
