"""The check of what a client asks for when it creates a batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from simulator import limits
from simulator.api_errors import BAD_REQUEST, ApiError
from simulator.batch_faults import missing_file_message
from simulator.file_routes import checked_lifetime
from simulator.records import BatchRecord, new_id

if TYPE_CHECKING:
    from simulator.parts import Parts


def new_batch(parts: Parts, wish: dict[str, Any], account: str) -> BatchRecord:
    """Return a batch that is ready to be checked, or refuse what is asked for."""
    file_id = _required(wish, "input_file_id")
    endpoint = _required(wish, "endpoint", limits.ENDPOINTS)
    window = _required(wish, "completion_window", (limits.COMPLETION_WINDOW,))
    metadata = _metadata(wish.get("metadata"))
    lifetime = _output_lifetime(wish.get("output_expires_after"))
    _check_file(parts, file_id, account)
    now = time.time()
    return BatchRecord(
        id=new_id("batch_"),
        account=account,
        endpoint=endpoint,
        input_file_id=file_id,
        completion_window=window,
        created_at=int(now),
        phase_started=now,
        metadata=metadata,
        output_expires_seconds=lifetime,
    )


def _required(wish: dict[str, Any], name: str, allowed: tuple[str, ...] = ()) -> str:
    value = wish.get(name)
    if value is None:
        message = f"Missing required parameter: '{name}'."
        raise ApiError(BAD_REQUEST, message, param=name, code="missing_required_parameter")
    if not isinstance(value, str):
        message = f"Invalid type for '{name}': expected a string."
        raise ApiError(BAD_REQUEST, message, param=name, code="invalid_type")
    if allowed and value not in allowed:
        values = ", ".join(f"'{each}'" for each in allowed)
        message = f"Invalid value: '{value}'. Supported values are: {values}."
        raise ApiError(BAD_REQUEST, message, param=name, code="invalid_value")
    return value


def _metadata(given: object) -> dict[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        message = "Invalid type for 'metadata': expected an object."
        raise ApiError(BAD_REQUEST, message, param="metadata", code="invalid_type")
    if len(given) > limits.MAX_METADATA_PAIRS:
        message = f"Invalid 'metadata': too many properties, more than {limits.MAX_METADATA_PAIRS}."
        raise ApiError(BAD_REQUEST, message, param="metadata", code="object_above_max_properties")
    for key, value in given.items():
        _check_pair(key, value)
    return given


def _check_pair(key: str, value: object) -> None:
    param = f"metadata.{key}"
    if not isinstance(value, str):
        message = f"Invalid type for '{param}': expected a string."
        raise ApiError(BAD_REQUEST, message, param=param, code="invalid_type")
    too_long = len(key) > limits.MAX_METADATA_KEY or len(value) > limits.MAX_METADATA_VALUE
    if too_long:
        message = (
            f"Invalid '{param[:90]}': a key has at most {limits.MAX_METADATA_KEY} characters, "
            f"a value at most {limits.MAX_METADATA_VALUE}."
        )
        raise ApiError(BAD_REQUEST, message, param="metadata", code="string_above_max_length")


def _output_lifetime(given: object) -> int | None:
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("anchor") != "created_at":
        message = "Invalid value for 'output_expires_after.anchor': it must be 'created_at'."
        param = "output_expires_after.anchor"
        raise ApiError(BAD_REQUEST, message, param=param, code="invalid_value")
    return checked_lifetime(given.get("seconds"), "output_expires_after.seconds")


def _check_file(parts: Parts, file_id: str, account: str) -> None:
    record = parts.files.find(file_id, account)
    if record is None:
        message = missing_file_message(file_id)
        raise ApiError(BAD_REQUEST, message, param="input_file_id", code="invalid_file")
    if record.purpose != "batch":
        message = f"Invalid purpose of file {file_id}: it must be 'batch', not '{record.purpose}'."
        raise ApiError(BAD_REQUEST, message, param="input_file_id", code="invalid_purpose")
