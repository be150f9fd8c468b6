"""The API keeps to its own OpenAPI document, whatever is sent to it."""

from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance
from web_process import Web

LONG_POLLS = frozenset({"/api/results"})
MAY_BE_UNREADY = frozenset({"/ready"})
"""Answers 503 by its contract while no pipeline runs."""


@schemathesis.serializer("application/x-ndjson")
def as_it_is(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


# Other threads of this process draw random numbers while data is made; which, is not repeatable.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.slow
@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
def test_no_call_is_answered_with_a_defect_or_an_unknown_status(
    shared_web: Web, mode: schemathesis.GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{shared_web.url}/api/openapi")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/api/requests", "/api/requests/bulk", "/api/files"} <= {
        each.path for each in operations
    }
    calls = [
        checked_calls(operation, mode)
        for operation in operations
        if operation.path not in LONG_POLLS | MAY_BE_UNREADY
    ]
    assert sum(calls) > 200


def checked_calls(operation: Any, mode: schemathesis.GenerationMode) -> int:
    """Call an operation with data of this kind; return how often, 0 if there is no such data."""
    calls = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        nonlocal calls
        calls += 1
        case.call_and_validate(checks=[not_a_server_error, status_code_conformance], timeout=20)

    with suppress(Unsatisfiable):
        check()
    return calls
