"""Two of everything at one data directory, or two installations at one account: nothing twice."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows
from running_commands import command_environment, obm, started, until

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.jobs import cancel_job
from storage.ledger import Ledger
from storage.snapshots import snapshot
from tasks.resources import Resources, using
from tasks.upkeep import delete_provider_files

Chat = Callable[..., dict[str, Any]]
REQUESTS = 30
BY_HAND = """
import asyncio, sys, importlib
for name in sys.argv[1:]:
    module, flow = name.split(":")
    asyncio.run(getattr(importlib.import_module(module), flow)())
"""
FLOWS = (
    "flows.ingestion:ingest", "flows.submission:submit", "flows.tracking:track",
    "flows.delivery:deliver",
)  # fmt: skip


def counted(installation: Any) -> dict[str, int]:
    """Return how many requests are in which state, none while there is no ledger."""
    directory = DataDirectory(installation.data)
    if not directory.ledger.exists():
        return {}
    with snapshot(directory, max_age_seconds=0) as reader:
        rows = reader.rows("SELECT state, count(*) AS many FROM requests GROUP BY state")
    return {row["state"]: row["many"] for row in rows}


def delivered_once(installation: Any, jobs: dict[str, list[dict[str, Any]]]) -> bool:
    for name, requests in jobs.items():
        path = installation.data / "outbox" / name / "results.sorted.jsonl"
        if not path.exists():
            return False
        wanted = Counter(request["custom_id"] for request in requests)
        assert Counter(line["custom_id"] for line in installation.results(name)) == wanted
    return True


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_pipeline_a_run_and_flows_by_hand_at_the_same_time_do_nothing_twice(
    installation: Any, chat: Chat, prefect_api_url: str, tmp_path: Path, proven: Callable[..., None]
) -> None:
    jobs = {f"job-{name}": [chat(f"{name}-{n}") for n in range(REQUESTS)] for name in "abc"}
    before = installation.simulator.counters()
    environment = command_environment(installation, prefect_api_url, tmp_path) | {
        "OBM_BATCH_MAX_WAIT": "0", "OBM_POLL_MIN": "0.3", "OBM_POLL_MAX": "0.3",
        "OBM_INTERVAL_TRACK": "5",
    }  # fmt: skip
    until_idle = obm("run", "--until-idle", "--poll-interval", "0.3", "--timeout", "200")
    commands = {
        "pipeline": obm("pipeline"),
        "run": until_idle,
        "hand": [sys.executable, "-W", "ignore", "-c", BY_HAND, *FLOWS, *FLOWS],
    }
    log = tmp_path / "pipeline.log"
    for name, requests in jobs.items():
        installation.drop(f"{name}.jsonl", requests)
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                started(
                    command, environment=environment, folder=tmp_path, log=tmp_path / f"{name}.log"
                )
            )
            for name, command in commands.items()
        }
        assert processes["hand"].wait(200) == 0, (tmp_path / "hand.log").read_text()[-3000:]
        assert processes["run"].wait(200) == 0, (tmp_path / "run.log").read_text()[-3000:]
        until(lambda: delivered_once(installation, jobs), log)
        refused = subprocess.run(
            obm("pipeline"), env=environment, cwd=tmp_path, capture_output=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert refused.returncode == 2

    after = installation.simulator.counters()
    assert counted(installation) == {"succeeded": 3 * REQUESTS}
    assert after["lines_paid"] - before["lines_paid"] == 3 * REQUESTS
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert examine(DataDirectory(installation.data), patience_seconds=0.0).findings == ()
    proven(requests=3 * REQUESTS, lost=0, double_paid=0)


def test_two_installations_with_one_account_leave_each_others_batches_and_files_alone(
    installation: Any, chat: Chat, tmp_path: Path
) -> None:
    data = tmp_path / "other"
    other = replace(
        installation, data=data,
        settings=installation.settings.model_copy(update={"data_dir": data}),
    )  # fmt: skip
    before = installation.simulator.counters()
    installation.simulator.set_scenarios("stuck:phase=in_progress", "dropped_create:batch=exists")
    both = (installation, other)
    for each in both:  # the same ids in the same batch number of the same account
        each.drop("job.jsonl", [chat(f"same {n}", text=f"{each.data} {n}") for n in range(10)])
        one_round(each, "ingest", "submit", "track")
    for each in both:
        assert each.states == {"batched": 10}

    ledger = Ledger.open(DataDirectory(installation.data))
    cancel_job(ledger, "job", actor="test")
    for each in both:
        one_round(each, "submit", "track")
        with using(resources := Resources(each.settings)), closing(resources):
            delete_provider_files.fn()
    installation.simulator.release()
    for each in both:
        assert each.run() in {0, 3}

    assert other.states == {"succeeded": 10}
    assert set(installation.states) <= {"succeeded", "cancelled"}
    for each in both:
        assert len(each.results("job")) == 10
        assert examine(DataDirectory(each.data), patience_seconds=0.0).findings == ()
    after = installation.simulator.counters()
    assert after["batches_created"] - before["batches_created"] == 2
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]


def one_round(installation: Any, *names: str) -> None:
    """Run these flows once with the installation's settings."""
    resources = Resources(installation.settings, close_at_once=True)
    with using(resources), closing(resources):
        for name in names:
            plain_flows()[name]()
