"""Validation errors in words for the person who wrote the file."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "extra_forbidden": "is not a known key",
        "missing": "is missing",
        "union_tag_not_found": '"type" is missing',
        "model_type": "must be a JSON object",
        "model_attributes_type": "must be a JSON object",
        "dict_type": "must be a JSON object",
        "string_type": "must be a string",
        "string_too_short": "must not be empty",
    }
)
_UNION_TAGS: Final = frozenset({"file", "webhook", "rabbitmq", "named"})


def located_faults(error: ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """Return every fault as the way to its place and what is wrong there."""
    return [
        (tuple(str(part) for part in fault["loc"] if part not in _UNION_TAGS), _message(fault))
        for fault in error.errors(include_url=False, include_input=False)
    ]


def faults_of(error: ValidationError) -> list[str]:
    """Return every fault as `field: what is wrong`, without repeating the values."""
    return [
        ": ".join(filter(None, (_place(fault["loc"]), _message(fault))))
        for fault in error.errors(include_url=False, include_input=False)
    ]


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in _UNION_TAGS)


def _message(fault: Any) -> str:
    kind = fault["type"]
    if kind == "union_tag_invalid":
        return f'"type" must be one of {fault["ctx"]["expected_tags"]}'
    if kind in _WORDS:
        return _WORDS[kind]
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
