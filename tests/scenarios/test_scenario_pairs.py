"""Each two scenarios of batches at once; a seeded share of all pairs runs always."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from pair_proof import prove_pairs
from scenario_pairs import Group, every_pair, groups

SHARE = 14


def seeded_share() -> list[Group]:
    """Return some pairs of batches' scenarios, and each scenario of calls in one pair."""
    pairs = every_pair()
    random.Random(5).shuffle(pairs)  # noqa: S311 - a choice of tests, no secret
    chosen = [pair for pair in pairs if not any(each.is_of_calls for each in pair)][:SHARE]
    met: set[str] = set()
    for pair in pairs:
        calls = {each.name for each in pair if each.is_of_calls}
        if calls and not calls & met:
            met |= calls
            chosen.append(pair)
    return list(groups(chosen))


OF_BATCHES = [group for group in groups(every_pair()) if not group.of_calls]


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("group", seeded_share(), ids=lambda group: group.name)
def test_two_scenarios_at_once_lose_nothing(
    group: Group,
    installation: Any,
    chat: Callable[..., dict[str, Any]],
    proven: Callable[..., None],
) -> None:
    prove_pairs(group, installation, chat, proven)


@pytest.mark.soak
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("group", OF_BATCHES, ids=lambda group: group.name)
def test_every_two_scenarios_of_batches_at_once_lose_nothing(
    group: Group,
    installation: Any,
    chat: Callable[..., dict[str, Any]],
    proven: Callable[..., None],
) -> None:
    prove_pairs(group, installation, chat, proven)
