"""Tell a story undisturbed, then with kills, and compare what came of it."""

import json
import shutil
import signal
import tempfile
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from broker import Broker, broker  # noqa: F401 - a fixture
from crash_points import killed_at, points_in
from crash_stories import Step, Story, World
from crashing_server import ForkServer
from web_receiver import WebReceiver

from batching.ownership import read_stamp
from simulator.process import SimulatorProcess
from storage import held_files
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.doctor.repairs import treat
from storage.ledger import Ledger
from storage.snapshots import snapshot

KILLS_A_TELLING = 6
"""They lie far apart, so that what follows one has been settled before the next."""
MOST_TRIES = 3
"""How often a story is told until a point is passed that does not come each time."""
ROOM_BYTES = 2_000_000_000
NO_KILL: dict[str, Any] = {"kill_at": None}
HURRY = {
    "file_stable_seconds": 0, "capacity_backoff_seconds": 0.1, "capacity_backoff_max_seconds": 0.3,
    "submit_proof_seconds": 0.4, "results_grace_seconds": 2, "lost_batch_seconds": 1,
    "create_timeout_seconds": 0.4, "file_not_found_seconds": 1,
    "poll_min_seconds": 0.05, "poll_max_seconds": 0.05, "webhook_allow_private": "true",
    "ledger_memory_bytes": 200_000_000,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Where a process kills itself: in which step, at which point."""

    step: int
    point: str | None = None
    occurrence: int = 1
    after: int | None = None
    """Instead of a point: how many points are passed."""

    @property
    def order(self) -> dict[str, Any]:
        return {"kill_at": self.point, "occurrence": self.occurrence, "kill_after": self.after}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What somebody who looks at the end of a story can see; a kill changes none of it."""

    states: Mapping[str, int]
    results: Mapping[str, Sequence[str]]
    """Of each file in the outbox the custom_ids, and what was answered.

    Not which was answered what: of a batch that ends early, its bodies decide which lines ran.
    """
    refused: Sequence[str]
    pushed: frozenset[str]
    lines_paid: int
    batches: int
    left_over: Sequence[str]
    """Files on their way, at a moment when none should be.

    Not what is left of a held file: the next one, a day later, clears it away.
    """


NOTHING = Outcome(
    states={}, results={}, refused=(), pushed=frozenset(), lines_paid=0, batches=0, left_over=()
)


@dataclass(kw_only=True)
class Told:
    """What a telling of a story has brought to light."""

    outcome: Outcome
    kills: list[str]
    missed: list[Kill]
    """Kills whose point was not passed."""
    points: list[Counter[str]]
    """Of each step."""

    @property
    def targets(self) -> list[Kill]:
        """A kill for each point, in their order."""
        return [
            Kill(step=index, point=name) for index, step in enumerate(self.points) for name in step
        ]

    def compare(self, wanted: Outcome, story: Story) -> None:
        """Fail if kills have changed anything that matters."""
        found = self.outcome
        if not story.same_batches:
            found = replace(found, batches=wanted.batches)
        if not story.refuses_once:
            found = replace(found, refused=sorted(set(found.refused)))
        changed = {
            each.name: (getattr(found, each.name), getattr(wanted, each.name))
            for each in fields(Outcome)
            if getattr(found, each.name) != getattr(wanted, each.name)
        }
        assert changed == {}, (changed, self.kills)


@dataclass(kw_only=True)
class Teller:
    """Tells stories, each time in a world of its own."""

    folder: Path
    server: ForkServer
    simulator: Any
    receiver: Any = None
    broker: Any = None
    tellings: int = 0

    def tell(self, story: Story, *kills: Kill) -> Told:
        """Tell a story with these kills, in their order; fail if anything is wrong at its end."""
        self.tellings += 1
        number = self.tellings
        world = World(
            data=self.folder / f"{number:04d}", tag=f"{self.folder.name}-{number}",
            simulator=self.simulator, receiver=self.receiver, broker=self.broker,
        )  # fmt: skip
        before = self.simulator.counters()
        first_push = len(self.receiver.received()) if self.receiver else 0
        self.simulator.clear_scenarios()
        told = Told(outcome=NOTHING, kills=[], missed=[], points=[])
        for index in range(len(story.steps)):
            chosen = [kill for kill in kills if kill.step == index]
            told.points.append(self._take(story, index, world, chosen, told))
        self.simulator.release()
        after = self.simulator.counters()
        again = after["lines_paid_more_than_once"] - before["lines_paid_more_than_once"]
        assert again == 0, (self.simulator.paid_twice(), told.kills)
        told.outcome = Outcome(
            states=_states(world),
            results=_results(world),
            refused=_refused(world),
            pushed=self._pushed(world, first_push),
            lines_paid=after["lines_paid"] - before["lines_paid"],
            batches=self._batches(world, told.kills),
            left_over=_left_over(world),
        )
        _assert_healthy(world, told.kills)
        return told

    def kill_everywhere(self, story: Story, targets: Sequence[Kill], wanted: Outcome) -> list[str]:
        """Tell a story again and again until each target was hit; return the kills.

        What does not come to pass in one telling, as another kill has changed the way, is tried
        alone in another.
        """
        hit: list[str] = []
        left = list(targets)
        for attempt in range(MOST_TRIES):
            each = KILLS_A_TELLING if not attempt else 1
            chains = -(-len(left) // each)
            missed: list[Kill] = []
            for chain in (left[start::chains] for start in range(chains)):
                told = self.tell(story, *chain)
                told.compare(wanted, story)
                hit += told.kills
                missed += told.missed
            left = missed
            if not left:
                return hit
        raise AssertionError(f"{story.name}: these points were never passed: {left}")

    def _take(
        self, story: Story, index: int, world: World, kills: Sequence[Kill], told: Told
    ) -> Counter[str]:
        step = story.steps[index]
        step.prepare(world)
        log = world.data.with_suffix(f".step-{index}")
        is_over = False
        for kill in kills:
            if is_over:
                told.missed.append(kill)
                continue
            log.unlink(missing_ok=True)
            ended = self._run(story, step, world, log, kill.order)
            point = killed_at(log)
            assert (point is not None) == (ended.signal == signal.SIGKILL), (point, ended)
            if point is None:
                assert ended.code in {*step.codes, 0}, (told.kills, ended, self.server.said())
                told.missed.append(kill)
                is_over = True
            else:
                told.kills.append(f"{story.name}, step {index}: {point}")
        if not is_over:
            log.unlink(missing_ok=True)
            ended = self._run(story, step, world, log, NO_KILL)
            # What failed before the kill is no failure of the run that goes on after it.
            codes = {*step.codes, 0} if kills else step.codes
            assert ended.code in codes, (told.kills, ended, self.server.said())
        return points_in(log)

    def _run(self, story: Story, step: Step, world: World, log: Path, kill: dict[str, Any]) -> Any:
        own = {
            "openai_api_key": world.tag, "openai_base_url": self.simulator.url,
            "data_dir": str(world.data),
        }  # fmt: skip
        if self.broker is not None:
            own |= {"rabbitmq_url": self.broker.url, "rabbitmq_input_queue": world.requests_queue}
        return self.server.run(
            act=step.act, options=step.options(world), log=str(log), kill=kill,
            settings=HURRY | own | dict(story.settings) | dict(step.settings),
        )  # fmt: skip

    def _batches(self, world: World, told: list[str]) -> int:
        """Return how many batches the account holds; no create may have been made twice."""
        call = urllib.request.Request(  # noqa: S310 - our own loopback server
            f"{self.simulator.url}/batches?limit=100",
            headers={"Authorization": f"Bearer {world.tag}"},
        )
        with urllib.request.urlopen(call, timeout=30) as answer:  # noqa: S310 - see above
            batches = json.load(answer)["data"]
        stamps = Counter(read_stamp(batch["metadata"]) for batch in batches)
        assert {stamp for stamp, times in stamps.items() if times > 1} == set(), told
        return len(batches)

    def _pushed(self, world: World, start: int) -> frozenset[str]:
        """Return what was pushed; however often that was, each result has one key."""
        keys: dict[str, set[str]] = defaultdict(set)
        for received in self.receiver.received(start) if self.receiver else ():
            if received.status == 200:
                keys[received.json["custom_id"]].add(received.headers["idempotency-key"])
        for queue in world.queues:
            for properties, body in self.broker.take_all(queue):
                keys[json.loads(body)["custom_id"]].add(properties.message_id)
        several = {custom_id: found for custom_id, found in keys.items() if len(found) > 1}
        assert several == {}
        return frozenset(keys)


def _states(world: World) -> dict[str, int]:
    with snapshot(DataDirectory(world.data), max_age_seconds=0) as reader:
        rows = reader.rows("SELECT state, count(*) AS n FROM requests GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


def _results(world: World) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((world.data / "outbox").rglob("*.jsonl")):
        results = [json.loads(line) for line in path.read_bytes().splitlines()]
        ids = [result["custom_id"] for result in results]
        in_order = ids if path.name == "results.sorted.jsonl" else sorted(ids)
        found[str(path.relative_to(world.data))] = in_order + sorted(map(_answer, results))
    return found


def _answer(result: dict[str, Any]) -> str:
    return str(result["response"]["status_code"] if result["response"] else result["error"]["code"])


def _refused(world: World) -> list[str]:
    folder = world.data / "staging" / "rejected"
    records = [
        json.loads(line)
        for path in folder.glob("*.jsonl")
        for line in path.read_bytes().splitlines()
        if not path.with_name(f"{path.name}.reason.json").exists()
    ]
    told = (f"{record.get('code')}: {record.get('raw')}" for record in records)
    return sorted(text.replace(world.tag, "this run") for text in told)


def _left_over(world: World) -> list[str]:
    staging = world.data / "staging"
    return sorted(
        path.name
        for folder in ("inbox", "claimed", "receiving")
        for path in (staging / folder).iterdir()
        if not path.name.startswith(held_files._PREFIX)
    )


def _assert_healthy(world: World, told: list[str]) -> None:
    directory = DataDirectory(world.data)
    report = examine(directory, patience_seconds=0.0)
    found = {finding.code for finding in report.findings}
    assert found <= {"orphan_temporary"}, (report.findings, told)
    if found:
        report = treat(Ledger.open(directory), patience_seconds=0.0).report
        assert report.findings == (), (report.findings, told)


@contextmanager
def fast_folder(name: str) -> Iterator[Path]:
    """Give a folder in memory if there is room: a killed process loses nothing of it either."""
    memory = Path("/dev/shm")  # noqa: S108 - only a part of the name is ours
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES else None
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def teller() -> Iterator[Teller]:
    """Give a teller of stories that need no doors."""
    with fast_folder("crashes") as folder, ExitStack() as stack:
        simulator = SimulatorProcess(folder / "simulator", accounts_by_key=True)
        yield Teller(
            folder=folder,
            server=stack.enter_context(ForkServer(folder / "server.log")),
            simulator=stack.enter_context(simulator),
        )


@pytest.fixture(scope="module")
def teller_at_doors(broker: Broker) -> Iterator[Teller]:  # noqa: F811 - the fixture
    """Give a teller that has a receiver of webhooks and a broker too."""
    with fast_folder("crashes") as folder, ExitStack() as stack:
        simulator = SimulatorProcess(folder / "simulator", accounts_by_key=True)
        yield Teller(
            folder=folder,
            server=stack.enter_context(ForkServer(folder / "server.log")),
            simulator=stack.enter_context(simulator),
            receiver=stack.enter_context(WebReceiver()),
            broker=broker,
        )
