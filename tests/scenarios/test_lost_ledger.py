"""A ledger that is gone or damaged: it is said, nothing is sent, and nothing is bought again."""

import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows

from batching.errors import ConfigurationError
from deployments.until_idle import Cycles
from storage.backups import back_up_ledger, log_of
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.ledger import Ledger
from storage.outbox import deliver_part, pending_parts
from storage.rebuilding.new_ledger import rebuild_ledger
from storage.submission_lock import submission_lock
from tasks import polling
from tasks.resources import Resources, using

Chat = Callable[..., dict[str, Any]]
STAGES = ("submitted", "ended", "collected", "delivered in part")
JOBS = ("one", "two")
LINES = 12


def deleted(ledger: Path) -> None:
    ledger.unlink()


def cut_off(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.truncate(ledger.stat().st_size // 2)


def zeroed(ledger: Path) -> None:
    ledger.write_bytes(bytes(ledger.stat().st_size))


def scribbled_over(ledger: Path) -> None:
    chance = random.Random(3)  # noqa: S311 - a seeded test
    with ledger.open("r+b") as file:
        for offset in range(4_096, ledger.stat().st_size, 65_536):
            file.seek(offset)
            file.write(chance.randbytes(512))


def log_scribbled_over(ledger: Path) -> None:
    """Leave what a kill between a commit and the checkpoint leaves, and damage that."""
    write_and_die = (
        "import duckdb, os, sys\n"
        "ledger = duckdb.connect(sys.argv[1], config={'checkpoint_threshold': '1TB'})\n"
        "ledger.execute('CREATE TABLE last_words AS SELECT 1 AS word')\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", write_and_die, str(ledger)], check=True, timeout=60)
    log = log_of(ledger)
    middle = log.stat().st_size // 2
    with log.open("r+b") as file:
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([byte[0] ^ 1]))


DAMAGES = (deleted, cut_off, zeroed, scribbled_over)


def lead_to(stage: str, installation: Any) -> None:
    """Bring two jobs so far, with the batches that the provider was paid for."""
    resources = Resources(
        installation.settings.model_copy(update={"batch_max_requests": LINES}), close_at_once=True
    )
    with using(resources):
        plain_flows()["ingest"]()
        plain_flows()["submit"]()
        if stage == "ended":
            polling.poll_batches.fn()
        if stage in {"collected", "delivered in part"}:
            plain_flows()["track"]()
        if stage == "delivered in part":
            with resources.ledger.transaction() as reader:
                first, *_ = pending_parts(reader, most=1)
            deliver_part(resources.ledger, first)
    resources.close()


def rebuild(installation: Any) -> None:
    resources = Resources(installation.settings)
    rebuild_ledger(
        DataDirectory(installation.data), force=True, account=installation.settings.account,
        cost_of=resources.cost_of, memory_bytes=1_000_000_000,
    )  # fmt: skip
    resources.close()


def put_copy_back(installation: Any) -> None:
    directory = DataDirectory(installation.data)
    (newest,) = directory.backups.glob("*-hourly.duckdb")
    directory.ledger.unlink(missing_ok=True)
    log_of(directory.ledger).unlink(missing_ok=True)
    shutil.copyfile(newest, directory.ledger)


def prove(
    installation: Any, chat: Chat, stage: str, damage: Callable[[Path], None],
    mend: Callable[[Any], None],
) -> None:  # fmt: skip
    directory = DataDirectory(installation.data)
    before = installation.simulator.counters()
    for job in JOBS:
        requests = [chat(f"{installation.data} {job} {number}") for number in range(LINES)]
        installation.drop(f"{job}.jsonl", requests)
    lead_to(stage, installation)
    back_up_ledger(directory, keep=1)
    created = installation.simulator.counters()["batches_created"]
    damage(directory.ledger)

    with pytest.raises(ConfigurationError, match=r"obm rebuild[\s\S]*nothing is sent until then"):
        # Parts that are read late only show their damage in use.
        Cycles(installation.settings, threading.Event(), timeout_seconds=10).run(plain_flows())
    assert installation.simulator.counters()["batches_created"] == created

    mend(installation)
    with Ledger.open(directory).transaction() as reader:
        assert submission_lock(reader) is not None
    assert installation.run(batch_max_requests=LINES) == 0
    after = installation.simulator.counters()
    assert installation.states == {"succeeded": len(JOBS) * LINES}
    for job in JOBS:
        told = Counter(line["custom_id"] for line in installation.results(job))
        assert told == Counter(f"{installation.data} {job} {number}" for number in range(LINES))
    assert after["batches_created"] == created
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert examine(directory, patience_seconds=0.0).findings == ()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("stage", "damage"), list(zip(STAGES, DAMAGES, strict=True)))
def test_a_damaged_ledger_is_made_anew_and_nothing_is_bought_again(
    stage: str, damage: Callable[[Path], None], installation: Any, chat: Chat,
    proven: Callable[..., None],
) -> None:  # fmt: skip
    prove(installation, chat, stage, damage, rebuild)
    proven(faults=1, requests=len(JOBS) * LINES, lost=0, double_paid=0)


@pytest.mark.soak
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_whatever_happened_to_the_ledger_nothing_is_bought_again(
    stage: str, damage: Callable[[Path], None], installation: Any, chat: Chat,
    proven: Callable[..., None],
) -> None:  # fmt: skip
    prove(installation, chat, stage, damage, put_copy_back)
    proven(faults=1, requests=len(JOBS) * LINES, lost=0, double_paid=0)


def test_a_damaged_ledger_gives_way_to_its_newest_copy(installation: Any, chat: Chat) -> None:
    prove(installation, chat, "ended", scribbled_over, put_copy_back)


@pytest.mark.parametrize("mend", [rebuild, put_copy_back])
def test_a_damaged_log_of_the_ledger_is_no_empty_one(
    mend: Callable[[Any], None], installation: Any, chat: Chat
) -> None:
    prove(installation, chat, "ended", log_scribbled_over, mend)
