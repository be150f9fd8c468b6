"""After a power cut: what was acknowledged is answered once, and nothing is paid twice.

The roles run on a recorded disk. For many moments of the recording a disk is made as it might be
found after the power was cut there, and the provider as it was at that moment; then the
product starts on it. The ledger's lock file stays the same one, as it would: another one would
make the product look for its batches as after a restore.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from broker import Broker, own_broker  # noqa: F401 - a fixture
from consumers import ConsumerProcess
from disk_recording import Event, Kind, Recording
from overheard_broker import overheard
from plain_pipeline import plain_flows
from power_cuts import Disk, Temper
from running_commands import environment_of
from web_process import Web
from web_process import end as end_web
from web_process import start as start_web

from batching.settings import Settings
from deployments.until_idle import Cycles
from simulator.process import SimulatorProcess
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine

PIPELINE = Path(__file__).parent.parent / "plain_pipeline.py"
KEY = "key"
FILES = 3
LINES = 10
SINGLES = 16
UPLOAD_EVERY = 8
MESSAGES = 24
REQUESTS = FILES * LINES + SINGLES + SINGLES // UPLOAD_EVERY * LINES + MESSAGES
PATIENCE_SECONDS = 300
CUTS = 10
SOAKED = 4
"""Recordings that `make soak` goes through."""
TEMPERS = (Temper.FORGETS, Temper.JOURNALS, Temper.SCATTERS, Temper.SCATTERS)
WAITS = {
    "OBM_FILE_STABLE_SECONDS": "0", "OBM_POLL_MIN": "0.05", "OBM_POLL_MAX": "0.05",
    "OBM_BATCH_MAX_REQUESTS": "20", "OBM_SUBMIT_PROOF_SECONDS": "0.3",
    "OBM_CAPACITY_BACKOFF": "0.2", "OBM_SEAL_SECONDS": "0.5",
}  # fmt: skip


@dataclass
class Recorded:
    """What was recorded, and what the world outside knows of it."""

    data: Path
    provider: Path
    port: int
    recording: Recording
    acknowledged: list[tuple[int, str]] = field(default_factory=list)
    """When a client knew that its request was taken, and its custom_id."""
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """The custom_ids of each file that was put into the inbox."""


def line(custom_id: str) -> dict[str, Any]:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": f"What is {custom_id}?"}],
    }
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def record(folder: Path, broker: Broker) -> Recorded:
    """Let all roles work for a while on files, requests over REST and messages."""
    data, provider = folder / "data", folder / "provider"
    recording = Recording(folder / "recording", [data, provider])
    with recording.of_children():
        simulator = SimulatorProcess(provider).start()
    recorded = Recorded(data, provider, int(simulator.url.split(":")[2].split("/")[0]), recording)
    web = None
    try:
        simulator.set_scenarios("error_lines:every=30,status=500,attempts=1")
        web = start_web(data, **recording.environment, OBM_SEAL_SECONDS=0.5)
        with pipeline(recorded, simulator.url), consumer(recorded, broker) as queue:
            clients = [
                threading.Thread(target=send, args=(recorded, web)),
                threading.Thread(target=publish, args=(broker, queue)),
            ]
            for client in clients:
                client.start()
            drop_files(recorded, folder)
            for client in clients:
                client.join()
            until(lambda: len(list(custom_ids(data / "outbox"))) == REQUESTS)
            time.sleep(1)  # the jobs are completed
        web.process.send_signal(signal.SIGTERM)
        assert web.process.wait(PATIENCE_SECONDS) == 0, web.log.read_text()
    finally:
        if web is not None:
            end_web(web)
        simulator.stop()
    return recorded


@contextmanager
def pipeline(recorded: Recorded, url: str) -> Iterator[None]:
    environment = environment_of(
        {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url, "OBM_DATA_DIR": recorded.data}, WAITS,
        recorded.recording.environment,
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(PIPELINE), "--forever"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        until(lambda: has_ended(process))


@contextmanager
def consumer(recorded: Recorded, broker: Broker) -> Iterator[str]:
    """Yield the queue from which it takes; what the broker is told is noted when it is told."""
    queue = broker.declare_queue(f"power-{recorded.port}")
    taken: list[tuple[int, bytes]] = []
    with overheard(broker.port, taken) as port:
        url = broker.url.replace(str(broker.port), str(port))
        process = ConsumerProcess(
            recorded.data, recorded.data.with_name("consumer.log"), RABBITMQ_URL=url,
            RABBITMQ_INPUT_QUEUE=queue, **recorded.recording.environment,
        )  # fmt: skip
        process.start()
        try:
            yield queue
            assert process.stop() == 0, process.said
        finally:
            process.end()
    assert len(taken) >= MESSAGES
    recorded.acknowledged += [(moment, json.loads(body)["custom_id"]) for moment, body in taken]


def publish(broker: Broker, queue: str) -> None:
    for number in range(MESSAGES):
        broker.publish(queue, json.dumps(line(f"message {number}")).encode())
        time.sleep(0.1)


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Ask it to end: a kill would leave calls that nobody recorded, and a query may take one."""
    process.send_signal(signal.SIGINT)
    return process.poll() is not None


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, f"it did not come true within {PATIENCE_SECONDS} s"
        time.sleep(0.2)


def send(recorded: Recorded, web: Web) -> None:
    """Send requests one by one and an upload; note when each was acknowledged."""
    with httpx.Client(base_url=web.url, timeout=60) as client:
        for number in range(SINGLES):
            custom_id = f"single {number}"
            taken = client.post("/api/requests", json=line(custom_id))
            assert taken.status_code == 202, taken.text
            recorded.acknowledged.append((time.time_ns(), custom_id))
            if number % UPLOAD_EVERY == UPLOAD_EVERY // 2:
                ids = [f"upload {number} {each}" for each in range(LINES)]
                content = "".join(json.dumps(line(custom_id)) + "\n" for custom_id in ids)
                taken = client.post("/api/requests/bulk", content=content.encode())
                assert taken.status_code == 202, taken.text
                recorded.acknowledged += [(time.time_ns(), custom_id) for custom_id in ids]
            time.sleep(0.2)


def drop_files(recorded: Recorded, folder: Path) -> None:
    """Copy files into the inbox as a user does: nobody syncs them."""
    inbox = recorded.data / "staging" / "inbox"
    while not inbox.is_dir():
        time.sleep(0.05)
    for number in range(FILES):
        name = f"file-{number}.jsonl"
        ids = [f"file {number} {each}" for each in range(LINES)]
        (folder / name).write_text("".join(json.dumps(line(each)) + "\n" for each in ids))
        recorded.dropped[name] = ids
        with recorded.recording.of_children():
            subprocess.run(["cp", folder / name, inbox / name], check=True)
        time.sleep(1)


# Choosing moments -------------------------------------------------------------------------


def kinds_of_moments(events: list[Event], data: Path) -> dict[str, list[int]]:
    """Return the moments after each kind of call to each kind of file in the data directory."""
    disk = Disk()
    moments: dict[str, list[int]] = defaultdict(list)
    for event in events:
        name = disk.tell(event)
        if name.startswith(f"{data}/") and "/snapshots/" not in name:
            told = "".join("#" if letter.isdigit() else letter for letter in name)
            folder, _, last = told.rpartition("/")
            moments[f"{event.kind.name} {folder} {last[:6]} {last[-12:]}"].append(event.ended)
    return moments


def moments_to_cut(events: list[Event], data: Path, *, count: int, seed: int) -> list[int]:
    """Choose moments so that each kind has its turn before one comes a second time."""
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    kinds = sorted(kinds_of_moments(events, data).items())
    chosen: list[int] = []
    while len(chosen) < count:
        chance.shuffle(kinds)
        chosen += [chance.choice(moments) for _, moments in kinds]
    return sorted(chosen[:count])


# One cut ----------------------------------------------------------------------------------


class Proof:
    """Goes through a recording once and looks at what is left at the chosen moments."""

    def __init__(self, recorded: Recorded, folder: Path, *, seed: int) -> None:
        self.recorded = recorded
        self.folder = folder
        self.chance = random.Random(seed)  # noqa: S311 - a seeded test
        self.requests = 0

    def run(self, moments: list[int]) -> None:
        """Cut the power at each of these moments; fail with the first that loses something."""
        events = self.recorded.recording.events()
        disk, done = Disk(), 0
        for number, moment in enumerate(moments):
            while done < len(events) and events[done].ended <= moment:
                disk.tell(events[done])
                done += 1
            under_way = [event for event in events[done:] if event.begun <= moment]
            temper = TEMPERS[number % len(TEMPERS)]
            place = self.folder / f"cut-{moment}-{temper.name}"
            disk.write_to(self.recorded.data, place / "data", temper, self.chance, under_way)
            disk.write_to(self.recorded.provider, place / "provider", Temper.KEEPS, self.chance)
            self._keep_lock_file(place / "data")
            self.look(place, events[done - 1].nanoseconds, events[:done])
            shutil.rmtree(place)

    def _keep_lock_file(self, data: Path) -> None:
        if (data / "ledger.lock").exists():
            (data / "ledger.lock").unlink()
            os.link(self.recorded.data / "ledger.lock", data / "ledger.lock")

    def look(self, place: Path, at: int, before: list[Event]) -> None:
        """Start the product there and compare what comes out with what the world knows."""
        promised = self.promised(at, before)
        simulator = SimulatorProcess(place / "provider", port=self.recorded.port).start()
        try:
            settings = Settings(
                _env_file=None, openai_api_key=KEY, openai_base_url=simulator.url,
                data_dir=place / "data", file_stable_seconds=0, poll_min_seconds=0.02,
                poll_max_seconds=0.02, batch_max_requests=20, submit_proof_seconds=0.3,
                capacity_backoff_seconds=0.2,
            )  # fmt: skip
            code = Cycles(settings, threading.Event(), timeout_seconds=PATIENCE_SECONDS).run(
                plain_flows()
            )
            counters = simulator.counters()
        finally:
            simulator.stop()
        assert code in {0, 3}, (place, code)
        answered = Counter(custom_ids(place / "data" / "outbox"))
        lost = sorted(promised - answered.keys())
        twice = sorted(custom_id for custom_id, times in answered.items() if times > 1)
        assert (lost, twice) == ([], []), place
        assert counters["lines_paid_more_than_once"] == 0, place
        findings = examine(DataDirectory(place / "data"), patience_seconds=0.0).findings
        assert [each for each in findings if each.code != "orphan_temporary"] == [], place
        self.requests += len(promised)

    def promised(self, at: int, before: list[Event]) -> set[str]:
        """Return what clients were told, and what was taken away from the inbox."""
        told = {custom_id for moment, custom_id in self.recorded.acknowledged if moment <= at}
        inbox = str(self.recorded.data / "staging" / "inbox")
        for event in before:
            folder, _, name = event.path.rpartition("/")
            if event.kind is Kind.RENAME and folder == inbox:
                told |= set(self.recorded.dropped.get(name, ()))
        return told


def custom_ids(outbox: Path) -> Iterator[str]:
    for path in outbox.rglob("results*.jsonl"):
        if path.name != "results.sorted.jsonl":
            whole = path.read_bytes().split(b"\n")[:-1]
            yield from (json.loads(each)["custom_id"] for each in whole)


def assert_nothing_escaped(recorded: Recorded, folder: Path) -> None:
    """Compare what was recorded with what lies there: no write may have gone unseen."""
    disk = Disk()
    for event in recorded.recording.events():
        disk.tell(event)
    disk.write_to(recorded.data, folder, Temper.KEEPS, random.Random(0))  # noqa: S311 - not used
    assert files_in(folder) == files_in(recorded.data)
    shutil.rmtree(folder)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def prove(folder: Path, broker: Broker, *, cuts: int, seed: int) -> int:
    recorded = record(folder, broker)
    assert_nothing_escaped(recorded, folder / "again")
    moments = moments_to_cut(recorded.recording.events(), recorded.data, count=cuts, seed=seed)
    proof = Proof(recorded, folder, seed=seed)
    proof.run(moments)
    return proof.requests


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_what_was_acknowledged_survives_power_cuts(
    tmp_path: Path,
    own_broker: Broker,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    requests = prove(tmp_path, own_broker, cuts=CUTS, seed=1)
    proven(faults=CUTS, requests=requests, lost=0, double_paid=0)


@pytest.mark.soak
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("seed", range(2, 2 + SOAKED))
def test_what_was_acknowledged_survives_hundreds_of_power_cuts(
    seed: int,
    tmp_path: Path,
    own_broker: Broker,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    requests = prove(tmp_path, own_broker, cuts=55, seed=seed)
    proven(faults=55, requests=requests, lost=0, double_paid=0)
