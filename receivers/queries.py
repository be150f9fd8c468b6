"""What the query of an upload says, checked before anything of the upload is read."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from batching.errors import BadInput
from batching.jobs import read_job_settings
from batching.requests import ReadingRules
from receivers.answers import invalid_parameter

_YES: Final = frozenset({"true", "1", "yes", ""})
_NO: Final = frozenset({"false", "0", "no"})


def parameters_of(query: bytes, known: frozenset[str]) -> dict[str, str]:
    """Return the parameters of a query; ApiError names the first one that nobody knows."""
    found = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    for name in found:
        if name not in known:
            names = ", ".join(sorted(known))
            raise invalid_parameter(name[:100], f"there is no such parameter; known are {names}")
    return found


def flag_of(parameters: Mapping[str, str], name: str) -> bool:
    """Return whether a flag is set."""
    value = parameters.get(name, "false").lower()
    if value not in _YES | _NO:
        raise invalid_parameter(name, "must be true or false")
    return value in _YES


def json_of(parameters: Mapping[str, str], name: str) -> Any:
    """Return the JSON value of a parameter, None if it is not given."""
    text = parameters.get(name)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_parameter(name, f"is not JSON: {error}") from None


def check_side_settings(
    settings: Mapping[str, Any], rules: ReadingRules, *, parameter: str
) -> None:
    """Raise the answer unless a side file may say this."""
    try:
        job = read_job_settings(json.dumps(settings).encode())
    except BadInput as error:
        detail = str(error).replace("the side file cannot be used: ", "")
        raise invalid_parameter(parameter, detail) from None
    if job.delivery_config is not None:
        reason = rules.reach.why_not(job.delivery_config)
        if reason is not None:
            raise invalid_parameter(parameter, reason)
