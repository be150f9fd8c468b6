"""No deed of the dashboard is without a walk that sets it off in a system at work."""

import ast
from pathlib import Path

from dashboard_walks import known_deeds
from walked_deeds import WALKED


def test_every_deed_of_every_page_is_walked_and_no_other() -> None:
    assert known_deeds() - WALKED.keys() == set(), "no test walks these deeds: see walked_deeds.py"
    assert WALKED.keys() - known_deeds() == set(), "these deeds are no more: see walked_deeds.py"


def test_the_walks_that_are_promised_are_there_and_are_watched() -> None:
    for file, test in set(WALKED.values()):
        tree = ast.parse((Path(__file__).parent / file).read_text())
        found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert test in found, f"{file} has no {test}"
        assert "walk" in {argument.arg for argument in found[test].args.args}, test
