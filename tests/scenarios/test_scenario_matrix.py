"""Every scenario of a provider: all requests end once, and it costs exactly so many batches."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scenario_cases import CASES, REQUESTS, Case
from scenario_pairs import MEMBERS

from simulator.scenarios import BY_NAME, parse_scenario
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.snapshots import snapshot


def kinds(scenarios: list[str]) -> set[str]:
    return {parse_scenario(scenario).name for scenario in scenarios}


def test_every_scenario_of_the_simulator_is_proven_alone_and_in_pairs() -> None:
    alone = kinds([scenario for case in CASES for scenario in case.scenarios])
    assert alone == set(BY_NAME)
    paired = kinds([scenario for member in MEMBERS for scenario in member.scenarios])
    assert paired == set(BY_NAME) - {"ok"}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_scenario_ends_every_request_once_for_exactly_so_many_batches(
    case: Case,
    installation: Any,
    chat: Callable[..., dict[str, Any]],
    proven: Callable[..., None],
) -> None:
    created_before = installation.simulator.counters()["batches_created"]
    paid_twice_before = installation.simulator.counters()["lines_paid_more_than_once"]
    requests = [chat(f"{case.name} {number}") for number in range(REQUESTS)]
    installation.simulator.set_scenarios(
        *case.scenarios, next_batches=1 if case.first_batch_only else None
    )
    installation.drop("job.jsonl", requests)

    exit_code = installation.run(**case.settings)

    counters = installation.simulator.counters()
    delivered = Counter(line["custom_id"] for line in installation.results("job"))
    assert delivered == Counter(request["custom_id"] for request in requests)
    assert [line["custom_id"] for line in installation.results("job", "results.sorted.jsonl")] == [
        request["custom_id"] for request in requests
    ]
    assert installation.states == case.states
    assert exit_code == case.exit_code
    assert counters["batches_created"] - created_before == case.batches
    assert counters["lines_paid_more_than_once"] - paid_twice_before == case.paid_twice
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()
    proven(faults=len(case.scenarios), requests=REQUESTS, double_paid=0)


def test_an_account_without_credit_stops_its_lanes_and_burns_no_attempt(
    installation: Any, chat: Callable[..., dict[str, Any]]
) -> None:
    installation.simulator.set_scenarios(
        "error_lines:share=1,status=429,code=insufficient_quota", next_batches=1
    )
    installation.drop("job.jsonl", [chat(f"credit {number}") for number in range(10)])

    assert installation.run() == 2

    assert installation.states == {"pending": 10}
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        assert reader.value("SELECT max(attempts) FROM requests") == 0
