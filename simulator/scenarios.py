"""The catalogue of scenarios, and how one is written: NAME[:parameter=value,...]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.records import ParameterValue

LINES: Mapping[str, ParameterValue] = {
    "share": 0.0,
    "every": 0,
    "first": 0,
    "containing": "",
    "by": "body",
    "seed": 0,
}
ERROR: Mapping[str, ParameterValue] = {"status": 400, "code": "", "file": "error"}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A thing that can go wrong, what can be set about it, and one line about it."""

    name: str
    summary: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    on_batches: bool = True


@dataclass(frozen=True, kw_only=True)
class ScenarioChoice:
    """A scenario with the parameters that somebody chose."""

    name: str
    parameters: Mapping[str, ParameterValue]


CATALOGUE = (
    Scenario(name="ok", summary="everything goes well"),
    Scenario(
        name="error_lines",
        summary="some lines (a tenth unless chosen) end with an HTTP error; attempts=n: only the "
        "first n tries of the same body, file=output: in the wrong file",
        parameters={**LINES, **ERROR, "attempts": 0},
    ),
    Scenario(
        name="all_fail",
        summary="every line ends with an HTTP error: completed, without an output file",
        parameters=ERROR,
    ),
    Scenario(
        name="dropped_lines",
        summary="some lines are in neither file; paid=yes: they ran and are billed",
        parameters={**LINES, "paid": False},
    ),
    Scenario(
        name="duplicated_lines", summary="some lines are in their file twice", parameters=LINES
    ),
    Scenario(
        name="broken_lines",
        summary="some answers are cut in the middle of their line (and billed)",
        parameters=LINES,
    ),
    Scenario(
        name="unparseable_lines",
        summary="the output file ends with lines that are no JSON",
        parameters={"count": 1},
    ),
    Scenario(
        name="foreign_lines",
        summary="the output file ends with lines whose ids nobody sent",
        parameters={"count": 3},
    ),
    Scenario(name="blank_lines", summary="the output file ends with blank lines"),
    Scenario(
        name="line_separators", summary="answers hold raw U+2028, U+2029 and U+0085 characters"
    ),
    Scenario(
        name="no_usage",
        summary="no usage is told (where=both, batch or lines)",
        parameters={"where": "both"},
    ),
    Scenario(
        name="expires",
        summary="the batch expires when this part is done; text=generic: its rest says only "
        "that the server had an error",
        parameters={"at": 0.5, "text": "code"},
    ),
    Scenario(
        name="cancelled_outside",
        summary="somebody else cancels the batch when this part is done",
        parameters={"at": 0.5},
    ),
    Scenario(
        name="unlisted_rest",
        summary="what an expired or cancelled batch has not run is in neither file",
    ),
    Scenario(
        name="stuck",
        summary="the batch stays in a phase (validating, in_progress, finalizing, cancelling) for "
        "some seconds, or (0) until it is released",
        parameters={"phase": "finalizing", "seconds": 0.0},
    ),
    Scenario(
        name="token_limit",
        summary="the first n creates (0: all) are refused for the token limit; as=failed, 400, 429",
        parameters={"times": 1, "limit": 2_000_000, "as": "failed"},
    ),
    Scenario(
        name="hidden_limit",
        summary="a model's queue holds so many tokens; what does not fit is refused; sticks: "
        "seconds until an ended batch frees its tokens",
        parameters={"tokens": 2_000_000, "sticks": 0.0, "as": "failed"},
    ),
    Scenario(
        name="cannot_find_file",
        summary="a file is not found at the first n creates with it, or for some seconds after "
        "its upload; as=400, 404, failed",
        parameters={"times": 1, "seconds": 0.0, "as": "400"},
    ),
    Scenario(
        name="bad_lines",
        summary="a file that holds such lines is refused as a whole; names=yes: with the numbers "
        "of the first `shown` of them, no: without, beyond: with numbers that it does not have",
        parameters={**LINES, "names": "yes", "shown": 100, "code": "invalid_request"},
    ),
    Scenario(
        name="refused_batches",
        summary="the first n creates (0: all) end as failed with this code and message, or with "
        "no reason at all",
        parameters={"times": 1, "code": "", "message": "The batch was refused."},
    ),
    Scenario(
        name="slow_create",
        summary="the answer to the first n creates comes late; batch=exists, hidden (seen only "
        "after hidden_seconds) or never",
        parameters={"times": 1, "seconds": 30.0, "batch": "exists", "hidden_seconds": 5.0},
    ),
    Scenario(
        name="dropped_create",
        summary="the connection is closed instead of an answer to the first n creates; "
        "batch=exists, hidden or never",
        parameters={"times": 1, "batch": "exists", "hidden_seconds": 5.0},
    ),
    Scenario(
        name="vanished",
        summary="the first n polls of a batch (0: all) answer 404; listed=no: nor is it listed",
        parameters={"polls": 0, "listed": False},
    ),
    Scenario(
        name="unknown_status",
        summary="the first n polls of a batch (0: all) show a status that nobody knows",
        parameters={"polls": 3, "status": "reticulating"},
    ),
    Scenario(
        name="no_counts",
        summary="request_counts is null or absent (as=null, absent)",
        parameters={"as": "null"},
    ),
    Scenario(name="empty_error_file_id", summary='error_file_id is "" instead of null'),
    Scenario(
        name="failing_calls",
        summary="the first n calls of a kind (0: all), or a share of them, answer an HTTP error; "
        "retry_after: seconds to tell, or none if negative",
        parameters={
            "call": "any",
            "times": 0,
            "share": 1.0,
            "status": 500,
            "code": "",
            "retry_after": -1.0,
        },
        on_batches=False,
    ),
    Scenario(
        name="small_uploads",
        summary="a file with more bytes is refused with 413",
        parameters={"bytes": 1_000_000},
        on_batches=False,
    ),
    Scenario(
        name="slow_calls",
        summary="the first n calls of a kind (0: all) are answered late; when=before or after "
        "they are done",
        parameters={"call": "any", "times": 0, "share": 1.0, "seconds": 1.0, "when": "before"},
        on_batches=False,
    ),
    Scenario(
        name="dropped_calls",
        summary="the connection is closed instead of an answer to the first n calls (0: all); "
        "when=before or after they are done",
        parameters={"call": "any", "times": 1, "share": 1.0, "when": "before"},
        on_batches=False,
    ),
    Scenario(
        name="cut_downloads",
        summary="the first n downloads (0: all) end early; as=closed: the connection breaks, "
        "as=short: looks whole but lines are missing; file=any, output, error",
        parameters={"times": 1, "at": 0.5, "as": "closed", "file": "any"},
        on_batches=False,
    ),
    Scenario(
        name="missing_downloads",
        summary="the first n downloads (0: all) answer 404; file=any, output, error",
        parameters={"times": 1, "file": "any"},
        on_batches=False,
    ),
)
BY_NAME = {scenario.name: scenario for scenario in CATALOGUE}
YES = ("yes", "true", "1")
NO = ("no", "false", "0")


def parse_scenario(text: str) -> ScenarioChoice:
    """Return the scenario that is written as NAME or NAME:parameter=value,...."""
    name, _, rest = text.strip().partition(":")
    scenario = BY_NAME.get(name)
    if scenario is None:
        raise ValueError(f"there is no scenario {name!r}; known are: {', '.join(BY_NAME)}")
    parameters = dict(scenario.parameters)
    for setting in filter(None, rest.split(",")):
        key, equals, value = setting.partition("=")
        if key not in parameters or not equals:
            known = ", ".join(parameters) or "none"
            raise ValueError(f"scenario {name!r} has no parameter {key!r}; it has: {known}")
        parameters[key] = _typed(value, parameters[key], f"{name}:{key}")
    return ScenarioChoice(name=name, parameters=parameters)


def describe_scenarios() -> str:
    """Return a table of all scenarios, their parameters with defaults, and what they do."""
    lines: list[str] = []
    for scenario in CATALOGUE:
        settings = ",".join(
            f"{name}={_shown(value)}" for name, value in scenario.parameters.items()
        )
        lines.append(f"{scenario.name}{':' if settings else ''}{settings}")
        lines.append(f"    {scenario.summary}")
    return "\n".join(lines)


def _shown(value: ParameterValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _typed(text: str, default: ParameterValue, name: str) -> ParameterValue:
    """Return the value in the type that the default has."""
    if isinstance(default, bool):
        if text.lower() not in YES + NO:
            raise ValueError(f"{name} must be yes or no, not {text!r}")
        return text.lower() in YES
    try:
        return type(default)(text)
    except ValueError:
        expected = type(default).__name__
        raise ValueError(f"{name} must be of type {expected}, not {text!r}") from None
