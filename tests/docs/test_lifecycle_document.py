"""The diagrams of docs/lifecycle.md hold exactly the moves that the code knows."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

import pytest
from documents import ROOT

from batching.lifecycle import (
    BATCH_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    OPERATOR_DELIVERY_TRANSITIONS,
    OPERATOR_REQUEST_TRANSITIONS,
    REQUEST_TRANSITIONS,
    WaitReason,
)

_Table = Mapping[StrEnum, Iterable[StrEnum]]
_MOVE = re.compile(r"^ *(\[\*\]|\w+) --> (\w+)(?:: (.+))?$", re.MULTILINE)


def _drawn(heading: str) -> set[tuple[str, str]]:
    """Return the moves of the diagram below a heading."""
    text = (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (diagram,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", section, re.DOTALL)
    moves = [(source, target) for source, target, _ in _MOVE.findall(diagram)]
    assert len(moves) == diagram.count("-->") == len(set(moves))
    return set(moves)


def _known(*tables: _Table) -> set[tuple[str, str]]:
    return {
        (str(source), str(target))
        for table in tables
        for source, targets in table.items()
        for target in targets
    }


@pytest.mark.parametrize(
    ("heading", "first", "tables"),
    [
        ("Request", "pending", (REQUEST_TRANSITIONS, OPERATOR_REQUEST_TRANSITIONS)),
        ("Batch", "planned", (BATCH_TRANSITIONS,)),
        ("Delivery", "pending", (DELIVERY_TRANSITIONS, OPERATOR_DELIVERY_TRANSITIONS)),
    ],
)
def test_a_diagram_holds_exactly_the_moves_of_the_code(
    heading: str, first: str, tables: tuple[_Table, ...]
) -> None:
    assert _drawn(heading) == {("[*]", first), *_known(*tables)}


def test_the_diagram_of_lanes_leads_into_and_out_of_every_reason_to_wait() -> None:
    reasons = {str(reason) for reason in WaitReason}
    waits = {("sending", reason) for reason in reasons}
    goes_on = {(reason, "sending") for reason in reasons}
    assert _drawn("Lane") == {("[*]", "sending"), *waits, *goes_on}
