"""The API and the dashboard as two processes on one data directory: neither harms the other."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from running_commands import environment_of, free_port
from web_process import Web, end, json_lines, request_line, start

from batching.access import Scope
from simulator.process import SimulatorProcess
from storage.access_tokens import create_token
from storage.directory import DataDirectory
from storage.formats import SourceFormat
from storage.health import read_health
from storage.held_files import KEPT_SECONDS, hold, remove_forgotten_files, start_held_file
from storage.inbox import hand_over
from storage.uploaded_files import UploadedFile, remove_abandoned_uploads

WAIT_SECONDS = 60.0
PIPELINE = Path(__file__).parent.parent / "plain_pipeline.py"
API, DASHBOARD = ("--only", "api"), ("--only", "dashboard")

Start = Callable[..., Web]


def eventually(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not fact():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


@pytest.fixture
def start_part(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts the API or the dashboard, always on the same data."""
    started: list[Web] = []

    def begin(part: tuple[str, str], **settings: object) -> Web:
        started.append(start(tmp_path / "data", *part, **settings))
        return started[-1]

    yield begin
    for web in started:
        end(web)
    log = (tmp_path / "data").with_suffix(".log")
    assert "Traceback" not in log.read_text(), log.read_text()


def send(web: Web, custom_id: str, content: str = "x") -> httpx.Response:
    return httpx.post(f"{web.url}/api/requests", json=request_line(custom_id, content), timeout=20)


def everything_sent(web: Web) -> Counter[str]:
    """Return how often each id lies in logs or uploads, wherever these have got to."""
    found = Counter(web.accepted_ids())
    for path in web.directory.inbox.glob("*.jsonl"):
        found.update(json.loads(line)["custom_id"] for line in path.read_bytes().splitlines())
    return found


def body_until(over: threading.Event, prefix: str, sent: set[str]) -> Iterator[bytes]:
    """Yield a piece of an upload each moment, until it is over; note what was sent."""
    while not over.wait(0.1):
        custom_id = f"{prefix}-{len(sent)}"
        sent.add(custom_id)
        yield json_lines(request_line(custom_id, "y" * 20_000))


def test_both_answer_and_the_old_address_leads_to_the_dashboard(start_part: Start) -> None:
    api = start_part(API)
    lonely = api.client.get("/ui")
    assert lonely.status_code == 503
    assert "obm web --only dashboard" in lonely.text

    dashboard = start_part(DASHBOARD)
    for web, role in ((api, "web"), (dashboard, "dashboard")):
        health = read_health(web.directory.health, role)
        assert health is not None
        assert (health.state, health.message) == ("running", web.url)
        assert web.client.get("/health").json() == {"status": "ok"}
        assert web.client.get("/metrics").status_code == 200
        assert send(web, f"at-{role}").status_code == 202
    led = api.client.get("/ui/requests?q=a%20b")
    assert led.status_code == 307
    assert led.headers["location"] == f"{dashboard.url}/ui/requests?q=a%20b"
    assert led.headers["cache-control"] == "no-store"
    seen = api.client.get("/", follow_redirects=True)
    assert (seen.status_code, str(seen.url)) == (200, f"{dashboard.url}/ui")

    assert dashboard.stop() == 0
    assert api.client.get("/ui").status_code == 503


def test_who_is_logged_in_is_known_to_both_and_acts_only_from_our_own_pages(
    start_part: Start,
) -> None:
    api, dashboard = start_part(API), start_part(DASHBOARD)
    token = create_token(api.directory, name="anna", scopes=[Scope.READ, Scope.OPERATE])
    eventually(lambda: api.client.get("/api/jobs").status_code == 401, "the need for a token")
    assert api.client.get("/ui").status_code == 307  # the login is there
    eventually(lambda: dashboard.client.get("/ui").status_code == 303, "the way to the login")
    logged_in = dashboard.client.post(
        "/ui/login", data={"token": token}, headers={"Origin": dashboard.url}
    )
    cookie = {"Cookie": logged_in.headers["set-cookie"].partition(";")[0]}
    eventually(
        lambda: api.client.get("/api/jobs", headers=cookie).status_code == 200, "being known"
    )
    for origin, status in ((dashboard.url, 403), (api.url, 404)):
        answer = api.client.post("/api/nothing", headers={**cookie, "Origin": origin})
        assert answer.status_code == status


def test_what_one_has_handed_over_is_known_to_the_other(start_part: Start) -> None:
    api = start_part(API, OBM_SEAL_SECONDS=0.2)
    dashboard = start_part(DASHBOARD, OBM_SEAL_SECONDS=0.2)
    for one, other in ((api, dashboard), (dashboard, api)):
        custom_id = uuid4().hex
        assert send(one, custom_id).json() == {"custom_id": custom_id}
        address = f"/api/requests/{custom_id}"
        eventually(partial(_knows, other, address), "the exchange")
        assert send(other, custom_id).json() == {"custom_id": custom_id, "duplicate": True}
        assert send(other, custom_id, "something else").status_code == 409
    assert set(everything_sent(api).values()) == {1}


def _knows(web: Web, address: str) -> bool:
    return web.client.get(address).status_code == 200


def test_the_start_of_one_leaves_alone_what_the_other_is_writing(start_part: Start) -> None:
    api = start_part(API, OBM_SEAL_SECONDS=3600)
    assert send(api, "before").status_code == 202
    (log,) = api.directory.receiving.glob("*.obmlog")
    over, receiving = threading.Event(), api.directory.receiving
    sent: dict[str, set[str]] = {"requests/bulk": set(), "files?name=f.jsonl": set()}
    with ThreadPoolExecutor(2) as threads:
        uploads = [
            threads.submit(
                httpx.post, f"{api.url}/api/{path}", content=body_until(over, path, ids), timeout=60
            )
            for path, ids in sent.items()
        ]
        eventually(lambda: len(list(receiving.glob(".upload-*"))) == 2, "the uploads")
        under_way = set(receiving.glob(".upload-*"))
        for number in (signal.SIGTERM, signal.SIGKILL):
            dashboard = start_part(DASHBOARD, OBM_SEAL_SECONDS=3600)
            assert send(dashboard, f"during-{number}").status_code == 202
            assert log.exists()
            assert under_way <= set(receiving.glob(".upload-*"))
            dashboard.stop(number)
        assert send(api, "after").status_code == 202
        assert log in receiving.glob("web-*.obmlog")
        over.set()
        assert [upload.result().status_code for upload in uploads] == [202, 202]
    start_part(DASHBOARD)  # finds what the killed one has left
    wanted = {"before", "after", f"during-{signal.SIGTERM}", f"during-{signal.SIGKILL}"}
    assert everything_sent(api) == Counter(wanted.union(*sent.values()))


CLEANING = """
import sys, time
from pathlib import Path
from storage.directory import DataDirectory
from storage.held_files import remove_forgotten_files
from storage.intake_log import seal_abandoned_logs
from storage.uploaded_files import remove_abandoned_uploads
directory = DataDirectory(Path(sys.argv[1]))
sealed = removed = 0
while not Path(sys.argv[2]).exists():
    sealed += seal_abandoned_logs(directory)
    removed += remove_abandoned_uploads(directory)
    remove_forgotten_files(directory)
print(sealed, removed)
"""


def test_even_a_start_in_the_middle_of_any_moment_takes_nothing_away(
    start_part: Start, tmp_path: Path
) -> None:
    api = start_part(API, OBM_SEAL_SECONDS=0)
    command = [sys.executable, "-c", CLEANING, str(api.directory.root), str(tmp_path / "enough")]
    starting = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    sent: list[str] = []
    until = time.monotonic() + 4
    while time.monotonic() < until:
        name = uuid4().hex[:8]
        assert send(api, f"single-{name}").status_code == 202
        bulk = [f"bulk-{name}-{number}" for number in range(3)]
        body = json_lines(*(request_line(custom_id) for custom_id in bulk))
        assert api.client.post("/api/requests/bulk", content=body).status_code == 202
        held = api.client.post(f"/api/files?name={name}.jsonl&hold=true", content=body + body)
        assert held.status_code == 202, held.text
        address = f"/api/held-files/{held.json()['held']}"
        assert api.client.delete(address).status_code == 204
        sent += [f"single-{name}", *bulk]
    (tmp_path / "enough").touch()
    told, _ = starting.communicate(timeout=20)
    assert starting.returncode == 0
    assert told.split() == ["0", "0"]
    assert everything_sent(api) == Counter(sent)


def test_an_upload_that_is_taken_for_abandoned_in_its_first_moment_begins_anew(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_flock = fcntl.flock
    removed: list[int] = []

    def late_flock(file: IO[bytes], operation: int) -> None:
        if not removed:
            removed.append(0)
            removed.append(remove_abandoned_uploads(directory))
        real_flock(file, operation)

    monkeypatch.setattr("storage.uploaded_files.fcntl.flock", late_flock)
    with UploadedFile(directory, SourceFormat.JSONL) as upload:
        upload.write(b"{}\n")
        place = upload.hand_over("x.jsonl", side_settings={})
    assert removed == [0, 1]
    assert place.read_bytes() == b"{}\n"
    assert not list(directory.receiving.iterdir())


def test_a_file_that_is_started_at_the_last_moment_is_not_forgotten_meanwhile(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UploadedFile(directory, SourceFormat.JSONL) as upload:
        upload.write(b"{}\n")
        held = hold(directory, upload, "x.jsonl", side_settings={"label": "x"})
    yesterday = time.time() - KEPT_SECONDS - 1
    os.utime(held.path.parent, (yesterday, yesterday))
    other_process = threading.Thread(target=remove_forgotten_files, args=(directory,))

    def late_hand_over(*wanted: Any, **more: Any) -> Path:
        other_process.start()
        other_process.join(0.3)  # it would have deleted the file by then
        return hand_over(*wanted, **more)

    monkeypatch.setattr("storage.held_files.hand_over", late_hand_over)
    started = start_held_file(directory, held.held)
    other_process.join()
    assert started is not None
    names = {path.name for path in directory.inbox.iterdir()}
    assert names == {"x.jsonl", "x.job.json"}


def test_uploads_through_the_dashboard_lose_nothing_while_the_api_starts_anew(
    start_part: Start,
) -> None:
    dashboard = start_part(DASHBOARD, OBM_SEAL_SECONDS=0.3)
    acknowledged: set[str] = set()
    over = threading.Event()

    def upload() -> None:
        for number in range(10_000):
            prefix = f"u{number}"
            body = json_lines(*(request_line(f"{prefix}-{line}") for line in range(20)))
            answer = dashboard.client.post(f"/api/files?name={prefix}.jsonl", content=body)
            assert answer.status_code == 202, answer.text
            assert send(dashboard, prefix).status_code == 202
            acknowledged.update((prefix, *(f"{prefix}-{line}" for line in range(20))))
            if over.is_set():
                return

    with ThreadPoolExecutor(1) as threads:
        uploading = threads.submit(upload)
        for number in (signal.SIGTERM, signal.SIGKILL):
            api = start_part(API, OBM_SEAL_SECONDS=0.3)
            assert send(api, f"api-{number}").status_code == 202
            acknowledged.add(f"api-{number}")
            api.stop(number)
        over.set()
        uploading.result(30)
    start_part(API)
    assert everything_sent(dashboard) == Counter(acknowledged)


def test_one_id_with_two_contents_through_both_is_paid_once_and_the_other_is_told_so(
    start_part: Start, tmp_path: Path
) -> None:
    api = start_part(API, OBM_SEAL_SECONDS=3600)
    dashboard = start_part(DASHBOARD, OBM_SEAL_SECONDS=3600)
    contents = {"one": api, "other": dashboard}
    for content, web in contents.items():
        assert send(web, "same", content).json() == {"custom_id": "same"}
        assert send(web, f"only-{content}", content).status_code == 202
        assert send(web, "both").status_code == 202  # with one content: a repeat
    assert api.client.post("/api/flush").status_code == 202
    for web in contents.values():
        assert web.stop() == 0
    with SimulatorProcess(tmp_path / "simulator") as simulator:
        environment = environment_of(
            {
                "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": simulator.url,
                "OBM_DATA_DIR": api.directory.root, "OBM_POLL_MIN": 0.1, "OBM_POLL_MAX": 0.2,
            }
        )  # fmt: skip
        command = [sys.executable, "-W", "ignore", str(PIPELINE)]
        worked = subprocess.run(
            command, env=environment, cwd=tmp_path, timeout=120, check=False, capture_output=True
        )
        assert worked.returncode == 3, worked.stderr.decode()  # some failed
        assert simulator.counters()["lines_paid"] == 4
    (told_in,) = api.directory.outbox.glob("default/**/results.jsonl")
    lines = told_in.read_bytes().splitlines()
    results = [json.loads(line) for line in lines]
    told = Counter((line["custom_id"], (line["error"] or {}).get("code")) for line in results)
    assert told == {
        ("same", None): 1, ("same", "obm_duplicate_custom_id"): 1, ("both", None): 1,
        ("only-one", None): 1, ("only-other", None): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("part", "setting"), [(API, "OBM_PORT"), (DASHBOARD, "OBM_DASHBOARD_PORT")]
)
def test_a_port_that_is_taken_is_named_with_its_setting(
    tmp_path: Path, shared_web: Web, part: tuple[str, str], setting: str
) -> None:
    ports = {"OBM_PORT": free_port(), "OBM_DASHBOARD_PORT": free_port(), setting: shared_web.port}
    ended = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "web", *part],
        env=environment_of(ports), cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert f"port {shared_web.port} " in ended.stderr
    assert f"set OBM_HOST and {setting}" in ended.stderr


def test_each_listens_at_a_port_of_its_own(tmp_path: Path) -> None:
    ports = {"OBM_PORT": free_port(), "OBM_DASHBOARD_PORT": free_port()}
    assert urlsplit(start_at(tmp_path, API, ports)).port == ports["OBM_PORT"]
    assert urlsplit(start_at(tmp_path, DASHBOARD, ports)).port == ports["OBM_DASHBOARD_PORT"]


def start_at(folder: Path, part: tuple[str, str], ports: dict[str, int]) -> str:
    """Start a part, end it again, and return where it said that it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "web", *part],
        env=environment_of(ports, {"OBM_DATA_DIR": folder / "data"}), cwd=folder,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        return process.stderr.readline().split()[-1]
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
