"""A broker, a data directory, a consumer and a web process for each test that wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from broker import broker, own_broker  # noqa: F401 - fixtures for the tests of this folder
from consumers import ConsumerProcess
from factories import Store
from small_disks import small_disk_of
from web_process import Web, end, start

from storage.directory import DataDirectory
from storage.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from broker import Broker
    from web_process import StartWeb


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.create()
    return made


@pytest.fixture
def queue(broker: Broker) -> Iterator[str]:  # noqa: F811 - the fixture imported above
    """A quorum queue whose dead letters go to `<queue>.dead`."""
    name = f"requests.{uuid4().hex}"
    broker.declare_queue(f"{name}.dead")
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{name}.dead",
    }
    broker.declare_queue(name, arguments)
    yield name
    broker.delete_queue(name)
    broker.delete_queue(f"{name}.dead")


@pytest.fixture
def consumer_of(tmp_path: Path) -> Iterator[Callable[..., ConsumerProcess]]:
    """A function that makes an `obm consume` with this environment; started by its `start`."""
    made: list[ConsumerProcess] = []

    def make(*, root: Path | None = None, **environment: object) -> ConsumerProcess:
        log = tmp_path / f"consumer-{len(made)}.txt"
        made.append(ConsumerProcess(root or tmp_path / "data", log, **environment))
        return made[-1]

    yield make
    for consumer in made:
        consumer.end()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    yield from small_disk_of(16)


@pytest.fixture(scope="session")
def shared_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve for all tests that only send requests to it."""
    web = start(tmp_path_factory.mktemp("web") / "data", OBM_SEAL_SECONDS=3600)
    yield web
    code = web.stop()
    end(web)
    assert code == 0
    assert "Traceback" not in web.log.read_text()


@pytest.fixture
def start_web(tmp_path: Path) -> Iterator[StartWeb]:
    """Return a function that starts a web process of the test's own, with these settings."""
    started: list[Web] = []

    def begin(data: Path = tmp_path / "data", **settings: object) -> Web:
        started.append(start(data, **settings))
        return started[-1]

    yield begin
    for web in started:
        end(web)


@pytest.fixture(scope="session")
def api_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve for all tests that fill the ledger themselves, each with jobs of its own."""
    web = start(tmp_path_factory.mktemp("api") / "data", OBM_SEAL_SECONDS=3600)
    yield web
    code = web.stop()
    end(web)
    assert code == 0
    assert "Traceback" not in web.log.read_text()


@pytest.fixture
def api_store(api_web: Web) -> Iterator[Store]:
    """Return the ledger of that process; nothing waits in it after the test."""
    directory = DataDirectory(api_web.directory.root)
    store = Store(directory, Ledger.open(directory))
    yield store
    store.run("UPDATE requests SET state = 'cancelled' WHERE state IN ('pending', 'batched')")
    store.run("UPDATE deliveries SET state = 'cancelled' WHERE state = 'pending'")


@pytest.fixture
def job() -> str:
    return f"job-{uuid4().hex}"
