"""An installation whose provider is a real simulator; waits are short, pauses are skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import Store

from batching.settings import Settings
from simulator.process import SimulatorProcess
from tasks.resources import Resources, using


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path_factory.mktemp("simulator"), accounts_by_key=True) as process:
        yield process


@pytest.fixture
def settings(tmp_path: Path, simulator: SimulatorProcess) -> Settings:
    return Settings(
        _env_file=None,
        openai_api_key=f"key-{tmp_path.name}",
        openai_base_url=simulator.url,
        data_dir=tmp_path / "data",
        submit_proof_seconds=0,
        results_grace_seconds=0,
        lost_batch_seconds=0,
        poll_min_seconds=0,
        poll_max_seconds=0,
    )


@pytest.fixture
def resources(settings: Settings, simulator: SimulatorProcess) -> Iterator[Resources]:
    found = Resources(settings, close_at_once=True)
    found.provider._pause = lambda _seconds: None
    with using(found):
        yield found
    found.provider.close()
    simulator.release()
    simulator.clear_scenarios()


@pytest.fixture
def store(resources: Resources) -> Store:
    return Store(resources.directory, resources.ledger, account=resources.settings.account)
