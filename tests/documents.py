"""The parts of the documents that the code knows: `python tests/documents.py` writes them anew.

A document marks such a part with `<!-- from the code: NAME -->` and `<!-- end -->`.
"""

import ast
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from scenario_cases import CASES
from scenario_pairs import every_pair, most_batches

from batching import lifecycle
from batching.failure_policy import POLICY
from batching.lifecycle import WISHES_ALLOWED, BatchState, DeliveryState, RequestState, WaitReason
from batching.result_lines import OwnCode
from batching.settings import Settings
from simulator.scenarios import describe_scenarios

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
MOST_USED = (
    "OPENAI_API_KEY", "OPENAI_BASE_URL", "OBM_DATA_DIR", "OBM_BATCH_MAX_WAIT",
    "OBM_MAX_SPEND_PER_DAY", "OBM_TOKEN_LIMITS", "OBM_PREFECT_PORT",
)  # fmt: skip

_PART = re.compile(r"(<!-- from the code: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_rows() -> dict[str, tuple[str, str]]:
    """Return default and sentence of every setting, by its variable."""
    return {
        field.validation_alias.choices[0]: (_default(field.default), field.description or "")  # type: ignore[union-attr] # every field has one
        for field in Settings.model_fields.values()
    }


def _default(value: object) -> str:
    if value is None or value == {}:
        return "-"
    if isinstance(value, float):
        return f"`{value:.10g}`"
    return f"`{value}`"


def _settings(variables: Iterable[str] | None = None) -> str:
    rows = settings_rows()
    chosen = rows if variables is None else {name: rows[name] for name in variables}
    return _table(
        ("variable", "default", "what it is"),
        ((f"`{name}`", default, _cell(sentence)) for name, (default, sentence) in chosen.items()),
    )


def _states(states: type[StrEnum]) -> str:
    said = _sentences(states.__name__)
    return _table(
        ("word", "meaning"), ((f"`{state}`", _cell(said[state.name])) for state in states)
    )


def _wishes() -> str:
    said = _sentences("BatchWish")
    return _table(
        ("wish", "what it does", "in these states"),
        (
            (f"`{wish}`", _cell(said[wish.name]), ", ".join(
                f"`{state}`" for state in BatchState if state in states
            ))
            for wish, states in WISHES_ALLOWED.items()
        ),
    )  # fmt: skip


def _sentences(class_name: str) -> dict[str, str]:
    """Return the sentence that stands below each member of an enumeration."""
    tree = ast.parse(Path(lifecycle.__file__).read_text(encoding="utf-8"))
    (body,) = (
        node.body for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    )  # fmt: skip
    pairs = itertools.pairwise(body)
    return {
        member.targets[0].id: str(sentence.value.value)
        for member, sentence in pairs
        if isinstance(member, ast.Assign)
        and isinstance(member.targets[0], ast.Name)
        and isinstance(sentence, ast.Expr)
        and isinstance(sentence.value, ast.Constant)
    }


def _own_codes() -> str:
    return _table(("code", "what happened"), ((f"`{code}`", code.sentence) for code in OwnCode))


def _scenarios() -> str:
    lines = describe_scenarios().splitlines()
    rows = zip(lines[::2], lines[1::2], strict=True)
    return _table(
        ("scenario", "parameters and their defaults", "what happens"),
        (
            (f"`{name}`", f"`{parameters}`" if parameters else "-", _cell(summary.strip()))
            for (name, _, parameters), summary in ((row.partition(":"), told) for row, told in rows)
        ),
    )


def _failure_policy() -> str:
    return _table(
        ("it shows as", "class", "what follows", "uses up", "how long", "then"),
        (
            (
                rule.told, rule.fault.value, f"**{rule.reaction}**", rule.counts.value,
                rule.bound or "-", rule.then or "-",
            )
            for rule in POLICY.values()
        ),
    )  # fmt: skip


def _scenario_outcomes() -> str:
    return _table(
        ("case", "scenarios", "requests", "batches", "paid again"),
        (
            (
                case.name,
                "<br>".join(f"`{scenario}`" for scenario in case.scenarios),
                ", ".join(f"{count} {state}" for state, count in case.states.items()),
                str(case.batches),
                str(case.paid_twice or "-"),
            )
            for case in CASES
        ),
    )


def _scenario_pairs() -> str:
    pairs = every_pair()
    kinds = (
        ("two scenarios of batches", lambda pair: not any(each.is_of_calls for each in pair)),
        ("one of calls, one of batches", lambda pair: sum(e.is_of_calls for e in pair) == 1),
        ("two scenarios of calls", lambda pair: all(each.is_of_calls for each in pair)),
    )
    return _table(
        ("pairs of", "pairs", "in which paid answers are destroyed", "batches at most"),
        (
            (
                name,
                str(len(found)),
                str(sum(any(each.destroys for each in pair) for pair in found)),
                str(max(most_batches(pair) for pair in found)),
            )
            for name, found in ((name, list(filter(is_meant, pairs))) for name, is_meant in kinds)
        ),
    )


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    rule = tuple("---" for _ in headings)
    return "".join(f"| {' | '.join(row)} |\n" for row in (headings, rule, *rows))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": _settings,
    "most-used-settings": lambda: _settings(MOST_USED),
    "request-states": lambda: _states(RequestState),
    "batch-states": lambda: _states(BatchState),
    "delivery-states": lambda: _states(DeliveryState),
    "batch-wishes": _wishes,
    "wait-reasons": lambda: _states(WaitReason),
    "own-codes": _own_codes,
    "scenarios": _scenarios,
    "failure-policy": _failure_policy,
    "scenario-outcomes": _scenario_outcomes,
    "scenario-pairs": _scenario_pairs,
}


def parts_in(text: str) -> list[str]:
    """Return the names of the parts that a document takes from the code."""
    return [match[2] for match in _PART.finditer(text)]


def renewed(text: str) -> str:
    """Return the document with its parts as the code knows them now."""
    return _PART.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}", text)


def main() -> None:
    """Write the parts of every document anew."""
    for path in DOCUMENTS:
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
