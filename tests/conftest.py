"""What holds for all tests."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

FIGURES = ("kills", "faults", "requests", "lost", "double_paid")
"""What a proof counts; `make soak` prints the sums."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes and moments by their argument: they differ each time that tests are collected."""
    return argname if isinstance(val, bytes | datetime) else None


@pytest.fixture
def proven(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Return a function that notes what a proof has put up with: `proven(kills=3, requests=9)`."""

    def note(**figures: int) -> None:
        unknown = figures.keys() - set(FIGURES)
        assert not unknown, f"a proof does not count {', '.join(unknown)}"
        for name, figure in figures.items():
            record_property(name, figure)

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what all proofs together have put up with."""
    sums: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, figure in report.user_properties:
                sums.update({name: figure} if name in FIGURES else {})
    if sums:
        terminalreporter.section("proof")
        words = (f"{name.replace('_', ' ')} {sums[name]:,}" for name in FIGURES)
        terminalreporter.write_line(" · ".join(words))
