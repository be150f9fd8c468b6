"""Wire ids: the custom_id that the provider sees, `<installation>-<segment>-<row>`.

They can be decoded without the ledger, so the way back to a request is exact even when the
same custom_id exists in several jobs. They keep to 64 characters of `[a-z0-9-]`, the
strictest rule that a compatible provider is known to have.
"""

import re
from dataclasses import dataclass

_WIRE_ID = re.compile(r"([a-z0-9]{4,16})-(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,8})")
LONGEST_WIRE_ID_BYTES = 16 + 1 + 9 + 1 + 9


@dataclass(frozen=True, slots=True)
class RequestRef:
    """The identity of an accepted request: its segment and its row in there."""

    segment: int
    row: int


def encode_wire_id(installation: str, ref: RequestRef) -> str:
    """Return the custom_id under which the request is sent."""
    return f"{installation}-{ref.segment}-{ref.row}"


def decode_wire_id(installation: str, wire_id: object) -> RequestRef | None:
    """Return the request behind a wire id, or None if it is not one of this installation."""
    match = _WIRE_ID.fullmatch(wire_id) if isinstance(wire_id, str) else None
    if match is None or match[1] != installation:
        return None
    return RequestRef(segment=int(match[2]), row=int(match[3]))
