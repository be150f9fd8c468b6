"""The deliver flow under a real Prefect server, with real receivers."""

import asyncio
import contextvars
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import factories
import pytest
from factories import Store, chat_line, success_line
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from web_receiver import WebReceiver, answers, delays

from batching.destinations import Reach
from batching.requests import ReadingRules
from batching.settings import Settings
from deployments.prefect_server import PrefectServer
from flows.delivery import deliver
from tasks import push_recording
from tasks.push_parts import MOST_OWN_PARTS
from tasks.resources import Resources, using

pytestmark = [
    pytest.mark.prefect,
    # Prefect leaves sockets of its clients to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TO_FILES = {"type": "file"}
Eventually = Callable[..., None]


@dataclass
class Deliveries:
    """A store with results that wait, and the runs that deliver them."""

    client: SyncPrefectClient
    store: Store
    last: State[Any] | None = None
    """How the last run has ended."""

    def answered(self, name: str, *configs: dict[str, str]) -> None:
        """Have the provider answer a job that has a request for each destination."""
        lines = [
            json.dumps(json.loads(chat_line(f"{name}-{number}")) | {"delivery_config": config})
            for number, config in enumerate(configs)
        ]
        self.store.take_in([line.encode() for line in lines], name=name, source_id=name)
        batch = self.store.ended()
        self.store.collect(batch, [success_line(wire) for wire in self.store.wire_ids(batch)])

    def run(self) -> State[Any]:
        self.last = asyncio.run(deliver(return_state=True))
        return self.last

    def pushes(self) -> list[TaskRun]:
        """Return the task runs of the last run that show what was pushed."""
        assert self.last is not None
        flow_run = FlowRunFilterId(any_=[self.last.state_details.flow_run_id])
        runs = self.client.read_task_runs(flow_run_filter=FlowRunFilter(id=flow_run))
        return [run for run in runs if run.name.startswith("push") and run.state.is_final()]


@pytest.fixture(scope="module")
def running_receivers() -> Iterator[tuple[WebReceiver, WebReceiver]]:
    with WebReceiver() as one, WebReceiver() as other:
        yield one, other


@pytest.fixture
def receivers(
    running_receivers: tuple[WebReceiver, WebReceiver],
) -> tuple[WebReceiver, WebReceiver]:
    for receiver in running_receivers:
        receiver.reset()
    return running_receivers


@pytest.fixture
def deliveries(prefect_server: PrefectServer, tmp_path: Path) -> Iterator[Deliveries]:
    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", webhook_allow_private="127.0.0.0/8"
    )
    resources = Resources(settings)
    resources.directory.create()
    values = {PREFECT_API_URL: prefect_server.api_url, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(values), using(resources), get_client(sync_client=True) as client:
        yield Deliveries(client, Store(resources.directory, resources.ledger))
    resources.close()


def webhook(receiver: WebReceiver) -> dict[str, str]:
    return {"type": "webhook", "webhook_url": receiver.url("/hook?token=secret")}


def test_prefect_shows_for_each_target_what_it_took_what_failed_and_what_waits(
    deliveries: Deliveries, receivers: tuple[WebReceiver, WebReceiver], eventually: Eventually
) -> None:
    good, broken = receivers
    broken.set_behaviour("/hook", answers(500))
    deliveries.answered("both", *[webhook(good)] * 3, webhook(broken), TO_FILES)
    assert deliveries.run().is_completed()

    eventually(lambda: len(deliveries.pushes()) == 2)
    shown = {run.name: (run.state.name, run.state.message) for run in deliveries.pushes()}
    assert shown == {
        f"push 3 results to {good.url('')}": ("Completed", "3 taken"),
        f"push 1 result to {broken.url('')}": ("Failing", "0 taken, 1 failed, 1 wait"),
    }


def test_a_hundred_targets_are_shown_as_the_largest_and_one_for_the_rest(
    deliveries: Deliveries,
    receivers: tuple[WebReceiver, WebReceiver],
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    names = [f"target-{number}" for number in range(100)]
    monkeypatch.setattr(factories, "RULES", ReadingRules(reach=Reach(names=frozenset(names))))
    definitions = [f'[{name}]\ntype = "webhook"\nurl = "{receivers[0].url()}"' for name in names]
    (deliveries.store.directory.root / "destinations.toml").write_text("\n".join(definitions))
    deliveries.answered("many", *[{"type": "named", "name": name} for name in [*names, names[-1]]])
    assert deliveries.run().is_completed()

    eventually(lambda: len(deliveries.pushes()) == MOST_OWN_PARTS + 1)
    shown = {run.name: run.state.message for run in deliveries.pushes()}
    assert shown["push 2 results to named:target-99"] == "2 taken"
    assert shown[f"push {100 - MOST_OWN_PARTS} results to other targets"] == "80 taken"
    assert receivers[0].count == 101


def test_results_for_files_are_delivered_while_a_push_is_under_way(
    deliveries: Deliveries, receivers: tuple[WebReceiver, WebReceiver], eventually: Eventually
) -> None:
    slow, store = receivers[0], deliveries.store
    slow.set_behaviour("/hook", delays(4))
    deliveries.answered("pushed", webhook(slow))
    flow = threading.Thread(target=contextvars.copy_context().run, args=(deliveries.run,))
    flow.start()
    try:
        before = slow.count
        eventually(lambda: slow.count > before)
        deliveries.answered("filed", TO_FILES)
        eventually((store.directory.outbox / "filed" / "summary.json").exists)
        assert store.value("SELECT state FROM deliveries") == "pending"
    finally:
        flow.join()
    assert store.value("SELECT state FROM deliveries") == "delivered"


def test_a_push_that_breaks_down_keeps_no_job_from_its_end(
    deliveries: Deliveries,
    receivers: tuple[WebReceiver, WebReceiver],
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    deliveries.answered("pushed", webhook(receivers[0]))
    deliveries.answered("filed", TO_FILES)
    monkeypatch.setattr(push_recording, "record_attempts", fails)
    assert deliveries.run().is_failed()
    completed = deliveries.store.rows("SELECT name FROM jobs WHERE completed_at IS NOT NULL")
    assert [row["name"] for row in completed] == ["filed"]
    eventually(lambda: [run.state_name for run in deliveries.pushes()] == ["Failed"])
