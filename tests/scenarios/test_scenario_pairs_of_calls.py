"""Each scenario of calls together with each other scenario."""

from collections.abc import Callable
from typing import Any

import pytest
from pair_proof import prove_pairs
from scenario_pairs import Group, every_pair, groups

OF_CALLS = [group for group in groups(every_pair()) if group.of_calls]


@pytest.mark.soak
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("group", OF_CALLS, ids=lambda group: group.name)
def test_every_scenario_of_calls_with_another_loses_nothing(
    group: Group,
    installation: Any,
    chat: Callable[..., dict[str, Any]],
    proven: Callable[..., None],
) -> None:
    prove_pairs(group, installation, chat, proven)
