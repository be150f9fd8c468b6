"""No verb of the ledger is forgotten: each one that flows call commits in some story of crashes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_door_stories import DOORS
from crash_operator_stories import OPERATORS
from crash_proof import Teller, broker, teller_at_doors  # noqa: F401 - fixtures
from crash_stories import FILES, TROUBLES

REPOSITORY = Path(__file__).parent.parent.parent
OPERATOR = "one transaction that an operator asks for, as those that are told of are"
ELSEWHERE = {
    "storage.account_sweep.note_listed": "a note that a next sweep makes again",
    "storage.batch_actions.flush_lane": OPERATOR,
    "storage.batch_actions.flush_lane_of": OPERATOR,
    "storage.batches.forget_create": "needs answers of a create that name another batch",
    "storage.bulk_batches.cancel_batches": OPERATOR,
    "storage.bulk_batches.forget_batches": OPERATOR,
    "storage.bulk_batches.redeliver_failed_of_batches": OPERATOR,
    "storage.bulk_batches.restart_batches": OPERATOR,
    "storage.bulk_requests.cancel_requests": OPERATOR,
    "storage.bulk_requests.redeliver_requests": OPERATOR,
    "storage.bulk_requests.retry_requests": OPERATOR,
    "storage.doctor.part_rescue._rescue": "each repair looks again before it acts",
    "storage.doctor.repairs._in_the_ledger": "each repair looks again before it acts",
    "storage.doctor.repairs._remove_temporaries": "each repair looks again before it acts",
    "storage.lane_limits.forget_learned_limit": OPERATOR,
    "storage.lanes.set_paused": OPERATOR,
    "storage.ledger.installation": "it only reads",
    "storage.outbox.postpone_part": "needs an outbox that cannot be written",
    "storage.polls.note_files": "needs a provider that names its files late",
    "storage.redelivery.cancel_deliveries": OPERATOR,
    "storage.redelivery.discard_dead_letters": OPERATOR,
    "storage.redelivery.enable_destination": OPERATOR,
    "storage.redelivery.redeliver_selection": OPERATOR,
    "storage.request_actions.cancel_request": OPERATOR,
    "storage.request_actions.edit_destination": OPERATOR,
    "storage.switches.end_token": OPERATOR,
    "storage.switches.issue_token": OPERATOR,
    "tasks.account_actions._audit": OPERATOR,
    "tasks.pushing._look": "it writes only what a destination that fails for days is given up for",
}
"""Verbs that no story needs, and why; what they leave behind is proven by tests of their own."""


def writing_verbs() -> Iterator[str]:
    """Yield each function that opens a transaction to write: it does not call it `reader`."""
    for folder in ("storage", "tasks"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and any(map(_writes, ast.walk(node))):
                    yield f"{module}.{node.name}"


def _writes(node: ast.AST) -> bool:
    return isinstance(node, ast.withitem) and (
        isinstance(node.context_expr, ast.Call)
        and isinstance(node.context_expr.func, ast.Attribute)
        and node.context_expr.func.attr == "transaction"
        and isinstance(node.optional_vars, ast.Name)
        and node.optional_vars.id == "transaction"
    )


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_every_verb_of_the_flows_commits_in_some_story(
    teller_at_doors: Teller,  # noqa: F811 - the fixture
) -> None:
    committed: set[str] = set()
    for story in (*FILES, *TROUBLES, *OPERATORS, *DOORS):
        for kill in teller_at_doors.tell(story).targets:
            _, seam, function, _ = str(kill.point).split(" · ")
            if seam == "commit":
                committed.add(function.partition(" < ")[0].replace("Ledger.", ""))

    assert len(committed) > 50
    assert set(writing_verbs()) - committed - ELSEWHERE.keys() == set()


@pytest.mark.soak
def test_what_is_left_out_is_there() -> None:
    assert ELSEWHERE.keys() - set(writing_verbs()) == set()
