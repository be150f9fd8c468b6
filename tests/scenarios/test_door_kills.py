"""SIGKILL of every role and of the broker at random moments, while requests come and go.

What was acknowledged is answered and delivered, at least once, each result under one key.
The long proof of the same, with a provider that makes trouble, is `test_soak_kills`.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from broker import Broker, own_broker  # noqa: F401 - a fixture
from crashing_roles import all_roles, threads

ROUNDS = 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_of_every_role_and_the_broker_lose_nothing_that_was_acknowledged(
    tmp_path: Path,
    own_broker: Broker,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    chance = random.Random(7)  # noqa: S311 - a seeded test
    with all_roles(tmp_path, own_broker) as installation:
        clients = installation.clients
        with threads(clients.post, clients.publish):
            for _ in range(ROUNDS):
                installation.kill_each(chance, broker_too=True)
            clients.over.set()

        missing = installation.settle()
        wanted = set(clients.acknowledged)
        assert not missing, f"{len(missing)} of {len(wanted)} are missing"

        keys = installation.keys_pushed()
        assert wanted <= keys.keys()
        assert {custom_id: len(found) for custom_id, found in keys.items() if len(found) > 1} == {}
        assert installation.simulator.counters()["lines_paid_more_than_once"] == 0
        assert len(wanted) > 4 * ROUNDS
        proven(kills=installation.kills, requests=len(wanted), lost=0, double_paid=0)
