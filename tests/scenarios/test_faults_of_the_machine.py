"""What the machine does to us: a disk that fills up, a newer version's data, a second process."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import Store, chat_lines
from plain_pipeline import plain_flows
from running_commands import command_environment, environment_of, obm, until

from batching.errors import DiskFull
from deployments.until_idle import ALL_WELL, SOME_FAILED, STOPPED, Cycles
from storage.directory import DataDirectory
from storage.ledger import Ledger
from tasks.resources import Resources, using
from tasks.upkeep import forget_old_files

Chat = Callable[..., dict[str, Any]]
Flows = dict[str, Callable[[], object]]

DISK_BYTES = 32 << 20
REQUESTS = 40
TEXT = "x" * 2_000
LEFT_BYTES = (0, 8_192, 65_536)
"""How much space is left when a step begins: none, and some that is soon used up."""


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="obm-small-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def on_small_disk(installation: Any, small_disk: Path) -> Any:
    """Return the installation with its data on the small disk."""
    data = small_disk / "data"
    return replace(
        installation, data=data, settings=installation.settings.model_copy(
            update={"data_dir": data, "batch_max_requests": 10}
        ),
    )  # fmt: skip


@contextlib.contextmanager
def filled(disk: Path, *, left_bytes: int) -> Iterator[None]:
    """Leave so much space on the disk while the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 4_096):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
        if left_bytes:
            file.truncate(ballast.stat().st_size - left_bytes)
    try:
        yield
    finally:
        ballast.unlink()


def fills_during(step: str, disk: Path, left_bytes: int, seen: list[BaseException]) -> Flows:
    """Return the flows; the first time that this one runs, the disk is nearly full."""
    flows = plain_flows()
    runs = flows[step]

    def run() -> None:
        if seen:
            runs()
            return
        with filled(disk, left_bytes=left_bytes):
            try:
                runs()
            except BaseException as error:
                seen.append(error)
                raise
            seen.append(DiskFull("it was enough"))

    return {**flows, step: run}


@pytest.mark.parametrize("left_bytes", LEFT_BYTES)
@pytest.mark.parametrize("step", ["ingest", "submit", "track", "deliver"])
def test_a_disk_that_fills_up_stops_the_work_and_loses_nothing(
    step: str, left_bytes: int, on_small_disk: Any, small_disk: Path, chat: Chat
) -> None:
    requests = [chat(f"r-{number}", text=f"{number} {TEXT}") for number in range(REQUESTS)]
    on_small_disk.simulator.set_scenarios("error_lines:every=9,status=400")
    before = on_small_disk.simulator.counters()
    on_small_disk.drop("job.jsonl", [*requests, {"custom_id": "no request"}])
    seen: list[BaseException] = []
    flows = fills_during(step, small_disk, left_bytes, seen)
    cycles = Cycles(on_small_disk.settings, threading.Event(), timeout_seconds=60)
    with contextlib.suppress(DiskFull):
        cycles.run(flows)
    (trouble,) = seen
    assert isinstance(trouble, DiskFull), repr(trouble)

    assert on_small_disk.run() in {ALL_WELL, SOME_FAILED}  # as much as failed in this run
    assert sum(on_small_disk.states.values()) == REQUESTS
    assert set(on_small_disk.states) == {"succeeded", "failed"}
    wanted = Counter(request["custom_id"] for request in requests)
    assert Counter(line["custom_id"] for line in on_small_disk.results("job")) == wanted
    ordered = on_small_disk.results("job", "results.sorted.jsonl")
    assert [line["custom_id"] for line in ordered] == list(wanted)
    after = on_small_disk.simulator.counters()
    assert after["batches_created"] - before["batches_created"] == REQUESTS / 10
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]


def test_retention_makes_room_on_a_disk_on_which_the_ledger_cannot_be_changed(
    on_small_disk: Any, small_disk: Path
) -> None:
    kept_for_a_moment = {"keep_archive_days": 1e-9, "keep_requests_days": 1e-9}
    resources = Resources(on_small_disk.settings.model_copy(update=kept_for_a_moment))
    store = Store(resources.directory, resources.ledger)
    store.take_in(chat_lines(2_000))
    store.run("UPDATE requests SET state = 'succeeded', result_id = 1")
    store.run("UPDATE jobs SET completed_at = created_at")
    old = resources.directory.archive / "20260101T000000000-abcd__old.jsonl"
    old.write_bytes(b"x" * 10_000)
    with filled(small_disk, left_bytes=0), using(resources), pytest.raises(DiskFull):
        forget_old_files.fn()
    assert not old.exists()


# The command line ---------------------------------------------------------------------------


def test_a_data_directory_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    with Ledger.open(directory).transaction() as transaction:
        transaction.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    waiting = directory.inbox / "job.jsonl"
    waiting.write_text("{}\n")
    before = directory.ledger.read_bytes()
    environment = environment_of(
        {
            "OBM_DATA_DIR": directory.root,
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": "http://[::1]:9",
        },
        # No server is there, and none is started: the refusal comes first.
        {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
    )
    for command in (obm("run", "--until-idle"), obm("status")):
        said = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=60
        )
        assert said.returncode == 2
        (sentence,) = said.stderr.decode().strip().splitlines()[-1:]
        assert "newer version" in sentence
        assert "install that version again" in sentence
        assert "Traceback" not in said.stderr.decode()
    assert directory.ledger.read_bytes() == before
    assert waiting.exists()


@pytest.mark.slow
def test_two_runs_on_one_data_directory_do_nothing_twice(
    installation: Any, chat: Chat, prefect_api_url: str, tmp_path: Path
) -> None:
    jobs = {
        f"job-{name}": [chat(f"{name}-{number}") for number in range(REQUESTS)] for name in "abcd"
    }
    for name, requests in jobs.items():
        installation.drop(f"{name}.jsonl", requests)
    before = installation.simulator.counters()
    environment = command_environment(installation, prefect_api_url, tmp_path)
    command = obm("run", "--until-idle", "--poll-interval", "0.3", "--timeout", "90")
    both = []
    for name in ("one", "other"):
        with (tmp_path / f"{name}.log").open("wb") as log:
            both.append(
                subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
            )
    codes = [process.wait(120) for process in both]

    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("one", "other"))
    assert codes == [ALL_WELL, ALL_WELL], logs[-3000:]
    for name, requests in jobs.items():
        wanted = [request["custom_id"] for request in requests]
        assert Counter(line["custom_id"] for line in installation.results(name)) == Counter(wanted)
        ordered = installation.results(name, "results.sorted.jsonl")
        assert [line["custom_id"] for line in ordered] == wanted
    after = installation.simulator.counters()
    assert after["lines_paid"] - before["lines_paid"] == len(jobs) * REQUESTS
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]


@pytest.mark.slow
def test_a_run_that_is_stopped_does_not_wait_for_a_provider_that_hangs(
    installation: Any, chat: Chat, prefect_api_url: str, tmp_path: Path
) -> None:
    installation.drop("job.jsonl", [chat("one")])
    installation.simulator.set_scenarios("slow_calls:call=files.create,seconds=45")
    log = tmp_path / "run.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            obm("run", "--until-idle"),
            env=command_environment(installation, prefect_api_url, tmp_path),
            cwd=tmp_path, stdout=said, stderr=said,
        )  # fmt: skip
    until(lambda: any(installation.data.glob("batches/*/input.jsonl")), log)
    time.sleep(1)  # until the upload has begun; that it is answered takes longer than we wait
    process.send_signal(signal.SIGTERM)
    assert process.wait(25) == STOPPED
    assert "Traceback" not in log.read_text()

    installation.simulator.release()
    installation.simulator.clear_scenarios()
    assert installation.run() == ALL_WELL
    assert len(installation.results("job")) == 1
