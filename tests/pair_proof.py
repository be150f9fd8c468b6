"""The proof that each two scenarios of a provider at once lose nothing and buy nothing in vain.

In every run each pair has a lane of its own.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from scenario_pairs import REQUESTS_A_PAIR, Group, Pair, may_hide_a_batch, most_batches

from deployments.until_idle import TIMED_OUT
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.snapshots import snapshot

FINAL = {"succeeded", "failed", "cancelled"}
LONGEST_RUN_SECONDS = 900
PATIENT = {"file_not_found_seconds": 60, "results_grace_seconds": 120}
"""So that a slow machine does not look like a file that never appears."""


def prove_pairs(
    group: Group,
    installation: Any,
    chat: Callable[..., dict[str, Any]],
    proven: Callable[..., None],
) -> None:
    before = installation.simulator.counters()
    installation.simulator.set_scenarios(
        *(scenario for each in group.of_calls for scenario in each.scenarios)
    )
    for number, pair in enumerate(group.pairs):
        _prepare(installation, chat, number, pair)

    code = installation.run(timeout_seconds=LONGEST_RUN_SECONDS, **PATIENT)

    assert code != TIMED_OUT, "not a fault: this machine was too slow for so many lanes"
    after = installation.simulator.counters()
    told = {number: [each.name for each in pair] for number, pair in enumerate(group.pairs)}
    for number, names in told.items():
        delivered = Counter(line["custom_id"] for line in installation.results(f"job-{number}"))
        wanted = Counter(f"{number} {line}?" for line in range(REQUESTS_A_PAIR))
        assert delivered == wanted, names
    states = installation.states
    assert set(states) <= FINAL
    assert sum(states.values()) == REQUESTS_A_PAIR * len(group.pairs)
    assert code == (0 if set(states) == {"succeeded"} else 3)
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()
    created = created_by_lane(installation)
    for number, pair in enumerate(group.pairs):
        assert created.get(f"pair-{number}", 0) <= most_batches(pair), told[number]
    unseen = after["batches_created"] - before["batches_created"] - sum(created.values())
    assert 0 <= unseen <= sum(map(may_hide_a_batch, group.pairs)), (unseen, told)
    again = after["lines_paid_more_than_once"] - before["lines_paid_more_than_once"]
    assert group.destroys or again == 0, installation.simulator.paid_twice()
    proven(
        faults=2 * len(group.pairs), requests=sum(states.values()), lost=0,
        double_paid=0 if group.destroys else again,
    )  # fmt: skip


def _prepare(
    installation: Any, chat: Callable[..., dict[str, Any]], number: int, pair: Pair
) -> None:
    """Put the pair in force for a model of its own, and drop requests for it."""
    model = f"pair-{number}"
    for each in pair:
        if not each.is_of_calls:
            installation.simulator.set_scenarios(
                *each.scenarios, model=model, next_batches=each.next_batches
            )
    ids = [f"{number} {line}?" for line in range(REQUESTS_A_PAIR)]
    installation.drop(f"job-{number}.jsonl", [chat(each, model=model) for each in ids])


def created_by_lane(installation: Any) -> dict[str, int]:
    """Return how many batches were created for each model, by the provider's ids."""
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        rows = reader.rows(
            "SELECT model, count(DISTINCT creates.provider_id) AS batches FROM creates "
            "JOIN batches USING (batch_id) JOIN lanes USING (lane_id) GROUP BY model"
        )
    return {row["model"]: row["batches"] for row in rows}
