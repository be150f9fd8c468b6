"""Everything that is wrong with a refused request, fault by fault, for who sent it alone."""

import json
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from batching.destinations import Destination
from batching.faults import located_faults
from batching.line_faults import Fault, Refusal, RefusalCode, list_faults

_adapter: Final[TypeAdapter[Destination]] = TypeAdapter(Destination)
_PLACES: Final = {
    RefusalCode.INVALID_DESTINATION: "/delivery_config",
    RefusalCode.DESTINATION_NOT_AVAILABLE: "/delivery_config",
}


def request_faults(line: bytes, refusal: Refusal) -> list[Fault]:
    """Return all faults of a line that was refused, at least the one it was refused for."""
    faults = list_faults(line)
    if not any(fault.pointer == "" for fault in faults):
        faults += _destination_faults(line)
    pointer = _PLACES.get(refusal.code, "")
    return faults or [Fault(code=refusal.code, reason=refusal.reason, pointer=pointer)]


def _destination_faults(line: bytes) -> list[Fault]:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return []
    config = value.get("delivery_config") if isinstance(value, dict) else None
    if config is None:
        return []
    try:
        _adapter.validate_python(config)
    except ValidationError as error:
        return [
            Fault(
                code=RefusalCode.INVALID_DESTINATION,
                reason=f"{place[-1] if place else 'delivery_config'} {reason}",
                pointer="/".join(("/delivery_config", *place)),
            )
            for place, reason in located_faults(error)
        ]
    return []
