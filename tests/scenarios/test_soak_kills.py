"""Hours of bad luck in minutes: roles and broker are killed while the provider makes trouble.

Whatever was acknowledged is answered and delivered; nothing is paid twice; the doctor finds
nothing wrong in the end. Scenarios are left out in which a paid answer is destroyed by the
provider itself, as nobody can help paying for those again.
"""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from broker import Broker, own_broker  # noqa: F401 - a fixture
from crashing_roles import PIPELINE, Installation, all_roles, threads

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.doctor.repairs import treat
from storage.ledger import Ledger

KILLS = 220
ROUNDS_A_BROKER_KILL = 4
SCENARIOS = (
    "ok",
    "error_lines:share=0.1,status=500,attempts=1",
    "error_lines:share=0.05,status=400",
    "all_fail:status=400",
    "dropped_lines:share=0.1",
    "duplicated_lines:share=0.2",
    "foreign_lines:count=3",
    "unparseable_lines:count=2",
    "blank_lines",
    "line_separators",
    "no_usage",
    "no_counts:as=absent",
    "empty_error_file_id",
    "expires:at=0.5",
    "expires:at=0",
    "cancelled_outside:at=0.5",
    "stuck:phase=finalizing,seconds=1",
    "stuck:phase=validating,seconds=1",
    "token_limit:times=1",
    "token_limit:times=1,as=429",
    "cannot_find_file:times=1",
    "cannot_find_file:times=1,as=failed",
    "slow_create:times=1,seconds=3,batch=exists",
    "slow_create:times=1,seconds=3,batch=never",
    "dropped_create:times=1,batch=exists",
    "dropped_create:times=1,batch=never",
    "vanished:polls=2,listed=yes",
    "unknown_status:polls=2",
    "failing_calls:call=any,share=0.2,status=503",
    "failing_calls:call=files.create,times=1,status=429,retry_after=0",
    "slow_calls:call=any,share=0.2,seconds=0.5",
    "dropped_calls:call=any,times=3,share=0.3",
    "dropped_calls:call=any,times=3,share=0.3,when=after",
    "cut_downloads:times=1,at=0.5,as=closed",
    "cut_downloads:times=1,at=0.5,as=short",
    "missing_downloads:times=1",
)


@pytest.mark.soak
@pytest.mark.timeout(1_500)
def test_two_hundred_kills_under_load_and_a_troubled_provider_lose_and_double_nothing(
    tmp_path: Path,
    own_broker: Broker,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    chance = random.Random(11)  # noqa: S311 - a seeded test
    faults = rounds = 0
    with all_roles(tmp_path, own_broker, OBM_CREATE_TIMEOUT=1.5) as installation:
        clients = installation.clients
        clients.pause_seconds = 0.1
        with threads(clients.post, clients.publish, clients.drop):
            while installation.kills < KILLS:
                rounds += 1
                faults += make_trouble(installation, chance)
                installation.kill_each(chance, broker_too=rounds % ROUNDS_A_BROKER_KILL == 0)
            clients.over.set()
        installation.simulator.clear_scenarios()

        missing = installation.settle()
        bring_to_rest(installation)
        assert_each_delivered_once(installation)
        assert_healthy(DataDirectory(installation.data))
        paid_twice = installation.simulator.counters()["lines_paid_more_than_once"]
        proven(
            kills=installation.kills, faults=faults, requests=len(clients.acknowledged),
            lost=len(missing), double_paid=paid_twice,
        )  # fmt: skip
        assert not missing
        assert paid_twice == 0, installation.simulator.paid_twice()
        assert len(clients.acknowledged) > 2 * KILLS


def make_trouble(installation: Installation, chance: random.Random) -> int:
    """Put other scenarios in force; return how many."""
    chosen = [each for each in chance.sample(SCENARIOS, 2) if each != "ok"]
    installation.simulator.clear_scenarios()
    installation.simulator.set_scenarios(*chosen)
    return len(chosen)


def bring_to_rest(installation: Installation) -> None:
    """Stop every role, hand over what they were writing, and let the pipeline come to its end."""
    for role in installation.roles.values():
        role.stop()
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", str(PIPELINE)],
        env=installation.roles["pipeline"].environment, capture_output=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert finished.returncode in {0, 3}, finished.stderr[-3000:]


def assert_each_delivered_once(installation: Installation) -> None:
    """Files hold each line exactly once; what is pushed may come again, under its one key."""
    clients = installation.clients
    in_files, keys = installation.in_files(), installation.keys_pushed()
    dropped = clients.ids("file")
    assert {custom_id: in_files[custom_id] for custom_id in dropped} == dict.fromkeys(dropped, 1)
    assert clients.ids("webhook") | clients.ids("rabbitmq") <= keys.keys()
    assert {custom_id: found for custom_id, found in keys.items() if len(found) > 1} == {}


def assert_healthy(directory: DataDirectory) -> None:
    """A kill may leave half-written files; the doctor sweeps them away and finds nothing else."""
    report = examine(directory, patience_seconds=0.0)
    assert {each.code for each in report.findings} <= {"orphan_temporary"}, report.findings
    treated = treat(Ledger.open(directory), patience_seconds=0.0)
    assert treated.report.findings == ()
