"""The web process when the machine, the client or the operator does not cooperate."""

import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from file_handles import no_more_handles
from web_process import StartWeb, Web, json_lines, request_line

from storage.health import read_health
from storage.intake_gate import pause_intake, resume_intake
from storage.intake_log import seal_abandoned_logs
from storage.log_files import lines_of, logs_in


def ids_handed_over(web: Web) -> list[str]:
    logs = logs_in(web.directory.inbox)
    return [json.loads(line.line)["custom_id"] for log in logs for line in lines_of(log)]


def send(web: Web, *, custom_id: str | None = None, content: str = "x") -> httpx.Response:
    line = request_line(custom_id or uuid4().hex, content)
    return httpx.post(f"{web.url}/api/requests", json=line, timeout=20)


def problem(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


@contextlib.contextmanager
def filled_disk(folder: Path) -> Iterator[None]:
    """Leave no room on the disk for a while."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1_000_000, 4_096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


def test_a_sealed_log_is_what_sigterm_leaves(start_web: StartWeb) -> None:
    web = start_web(OBM_SEAL_SECONDS=3600)
    assert send(web, custom_id="kept").status_code == 202
    assert web.stop(signal.SIGTERM) == 0
    assert ids_handed_over(web) == ["kept"]
    assert not logs_in(web.directory.receiving)
    health = read_health(web.directory.health, "web")
    assert health is not None
    assert health.state == "stopped"
    assert web.log.read_text().count("\n") == 1
    assert web.url in web.log.read_text()


def test_ctrl_c_ends_it_cleanly_too(start_web: StartWeb) -> None:
    web = start_web(OBM_SEAL_SECONDS=3600)
    assert send(web, custom_id="kept").status_code == 202
    assert web.stop(signal.SIGINT) == 0
    assert ids_handed_over(web) == ["kept"]


def test_what_was_acknowledged_survives_a_kill(start_web: StartWeb) -> None:
    web = start_web(OBM_SEAL_SECONDS=3600)
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(send, web, custom_id=f"k-{number}") for number in range(200)]
        sent[50].result()
        os.kill(web.process.pid, signal.SIGKILL)
        acknowledged = [f"k-{number}" for number, call in enumerate(sent) if was_accepted(call)]
    web.process.wait()
    assert len(acknowledged) > 40
    seal_abandoned_logs(web.directory)
    assert set(acknowledged) <= set(ids_handed_over(web))

    again = start_web()
    answer = send(again, custom_id=acknowledged[0])
    assert answer.json() == {"custom_id": acknowledged[0], "duplicate": True}
    assert problem(send(again, custom_id=acknowledged[1], content="other")) == "duplicate_custom_id"


def was_accepted(call: "Future[httpx.Response]") -> bool:
    try:
        return call.result().status_code == 202
    except httpx.TransportError:
        return False


def test_a_start_hands_over_what_a_killed_process_left(start_web: StartWeb) -> None:
    web = start_web(OBM_SEAL_SECONDS=3600)
    send(web, custom_id="left")
    leftover = web.directory.receiving / ".upload-0123456789abcdef.jsonl"
    leftover.write_bytes(b"half")
    web.stop(signal.SIGKILL)
    again = start_web()
    assert ids_handed_over(again) == ["left"]
    assert not leftover.exists()


def test_a_full_disk_acknowledges_nothing_and_passes(start_web: StartWeb, small_disk: Path) -> None:
    web = start_web(small_disk / "data", OBM_SEAL_SECONDS=3600)
    assert send(web, custom_id="before").status_code == 202
    with filled_disk(small_disk):
        big = "x" * 10_000
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: send(web, content=big), range(64)))
        refused = [answer for answer in answers if answer.status_code == 503]
        accepted = [answer.json()["custom_id"] for answer in answers if answer.is_success]
        assert len(refused) > 48
        assert {problem(answer) for answer in refused} == {"storage_unavailable"}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        upload = web.client.post("/api/requests/bulk", content=json_lines(request_line()) * 2_000)
        assert (upload.status_code, problem(upload)) == (503, "storage_unavailable")
        file = web.client.post("/api/files?name=a.jsonl", content=bytes(1_000_000))
        assert (file.status_code, problem(file)) == (503, "storage_unavailable")
    assert send(web, custom_id="after").status_code == 202
    assert web.stop() == 0
    assert sorted(ids_handed_over(web)) == sorted(["before", "after", *accepted])


def test_without_file_handles_nothing_is_acknowledged_that_is_not_kept(
    start_web: StartWeb,
) -> None:
    web = start_web(OBM_SEAL_SECONDS=0.2)
    accepted, refused = [], None
    with no_more_handles(web.process.pid):
        while refused is None:  # the open log takes requests until it is handed over
            line = request_line(uuid4().hex, "x")
            answer = web.client.post("/api/requests", json=line)
            if answer.status_code == 202:
                accepted.append(answer.json()["custom_id"])
            else:
                refused = answer
    assert (refused.status_code, problem(refused)) == (503, "storage_unavailable")
    assert send(web, custom_id="after").status_code == 202
    assert web.stop() == 0
    assert sorted(ids_handed_over(web)) == sorted(["after", *accepted])
    assert "Too many open files" in web.log.read_text()


def test_paused_intake_answers_503_across_restarts_and_goes_on(start_web: StartWeb) -> None:
    web = start_web()
    assert pause_intake(web.directory, actor="test", reason="moving house")
    web.stop()
    web = start_web()
    answer = send(web)
    assert (answer.status_code, problem(answer)) == (503, "maintenance_mode")
    assert "moving house" in answer.text
    for path in ("/api/requests/bulk", "/api/files?name=a.jsonl"):
        answer = web.client.post(path, content=json_lines(request_line()))
        assert (answer.status_code, problem(answer)) == (503, "maintenance_mode")
    assert web.client.post("/api/requests", json={}).status_code == 422
    assert resume_intake(web.directory)
    accepted = False
    for _ in range(300):
        accepted = accepted or send(web).status_code == 202
    assert accepted


def test_a_client_that_stops_sending_gets_a_408(shared_web: Web) -> None:
    with socket.create_connection(("127.0.0.1", shared_web.port), timeout=15) as slow:
        slow.sendall(
            b"POST /api/requests HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )
        assert b" 408 " in slow.recv(4_096)
        assert ended(slow)


@pytest.mark.parametrize("head", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_a_client_that_does_not_finish_its_head_is_cut_off(shared_web: Web, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared_web.port), timeout=15) as silent:
        silent.sendall(head)
        assert ended(silent)


def ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(4_096):
            pass
    except OSError as error:
        return error.errno == errno.ECONNRESET
    return True


def test_an_upload_under_way_does_not_hold_up_the_end(start_web: StartWeb) -> None:
    web = start_web(OBM_RECEIVE_TIMEOUT=60)
    with socket.create_connection(("127.0.0.1", web.port), timeout=15) as slow:
        slow.sendall(b"POST /api/requests/bulk HTTP/1.1\r\nHost: localhost\r\n")
        slow.sendall(b"Content-Length: 999999\r\n\r\n" + json_lines(request_line()))
        while not list(web.directory.receiving.glob(".upload-*")):
            pass
        assert web.stop() == 0
    assert not list(web.directory.receiving.iterdir())


def test_it_runs_without_key_ledger_and_pipeline(start_web: StartWeb) -> None:
    web = start_web()
    assert not web.directory.ledger.exists()
    modules = Path(f"/proc/{web.process.pid}/maps").read_text()
    assert "uvloop" in modules
    health = read_health(web.directory.health, "web")
    assert health is not None
    assert (health.state, health.pid) == ("running", web.process.pid)
