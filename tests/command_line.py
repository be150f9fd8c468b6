"""What tests of the command line speak of: a command's words, and who runs it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Obm = Callable[..., Said]
"""Runs `obm` with these arguments, and with keyword arguments as its environment."""
RequestFile = Callable[..., Path]
"""Writes a request file of this name, with these lines or so many, and returns where it is."""
