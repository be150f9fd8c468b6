"""A machine that sleeps for hours in the middle of its work, and one whose clock is put then."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_commands import started, until

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from storage.ledger import Ledger

TESTS = Path(__file__).parent.parent
HOUR_NANOSECONDS = 3_600_000_000_000
REQUESTS = 40
JOBS = ("early", "late")


@pytest.fixture(scope="session")
def put_clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile what puts the clock of other processes."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    library = tmp_path_factory.mktemp("clock") / "put_clock.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(TESTS / "put_clock.c")]
    subprocess.run(command, check=True)
    return library


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("hours", [8, -8])
def test_work_goes_on_after_hours_of_sleep_and_nothing_is_done_twice(
    *,
    hours: int,
    installation: Any,
    chat: Callable[..., dict[str, Any]],
    put_clock_library: Path,
    tmp_path: Path,
    proven: Callable[..., None],
) -> None:
    offset = tmp_path / "offset"
    offset.write_bytes(bytes(8))
    settings = installation.settings
    environment = os.environ | {
        "LD_PRELOAD": str(put_clock_library), "PUT_CLOCK": str(offset), "HOME": str(tmp_path),
        "OPENAI_API_KEY": settings.openai_api_key.get_secret_value(),
        "OPENAI_BASE_URL": settings.openai_base_url, "OBM_DATA_DIR": str(installation.data),
        "OBM_FILE_STABLE_SECONDS": "0", "OBM_BATCH_MAX_REQUESTS": "8",
    }  # fmt: skip
    requests = [chat(f"{hours} {number}") for number in range(REQUESTS)]
    before = installation.simulator.counters()
    installation.simulator.set_scenarios("stuck:phase=in_progress", next_batches=2)
    command = [sys.executable, "-W", "ignore", str(TESTS / "plain_pipeline.py"), "--forever"]
    log = tmp_path / "pipeline.log"
    with started(command, environment=environment, folder=tmp_path, log=log) as pipeline:
        installation.drop("early.jsonl", requests[: REQUESTS // 2])
        until(lambda: installation.simulator.counters()["batches_created"]
              >= before["batches_created"] + 2, log, timeout_seconds=200)  # fmt: skip
        pipeline.send_signal(signal.SIGSTOP)
        time.sleep(1)
        with offset.open("r+b") as hands:
            hands.write((hours * HOUR_NANOSECONDS).to_bytes(8, sys.byteorder, signed=True))
        installation.simulator.release()
        installation.drop("late.jsonl", requests[REQUESTS // 2 :])
        pipeline.send_signal(signal.SIGCONT)
        done = [installation.data / "outbox" / job / "results.sorted.jsonl" for job in JOBS]
        until(lambda: all(path.exists() for path in done), log, timeout_seconds=300)

    with Ledger.open(DataDirectory(installation.data)).transaction() as reader:
        apart = reader.value("SELECT epoch(max(accepted_at) - min(accepted_at)) FROM requests")
    assert apart > (abs(hours) - 1) * 3_600  # the clock of that process was put indeed
    lines = [line for job in JOBS for line in installation.results(job)]
    wanted = Counter(request["custom_id"] for request in requests)
    assert Counter(line["custom_id"] for line in lines) == wanted
    after = installation.simulator.counters()
    assert after["lines_paid"] - before["lines_paid"] == REQUESTS
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert installation.run(timeout_seconds=200) == 0
    assert examine(DataDirectory(installation.data), patience_seconds=0.0).findings == ()
    proven(faults=1, requests=REQUESTS, lost=0, double_paid=0)
