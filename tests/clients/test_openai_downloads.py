"""Downloads: whole or not at all, and flat in memory."""

import errno
import gzip
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batching.errors import (
    ConfigurationError,
    DiskFull,
    IncompleteDownload,
    NotFound,
    ProviderUnavailable,
    StopRequested,
)
from batching.stopping import stop_signal
from clients.openai_transfers import StoppableFile, save_stream

LINES = b'{"custom_id":"a","x":"\xe2\x80\xa8"}\n' * 30_000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "output.jsonl"


def test_a_file_arrives_byte_for_byte(server: Any, client: Any, target: Path) -> None:
    server.say(LINES)

    size = client.download("file-1", target, expected_bytes=len(LINES))

    assert (size, target.read_bytes()) == (len(LINES), LINES)
    assert server.calls[0].path == "/v1/files/file-1/content"
    assert list(target.parent.iterdir()) == [target]


def test_a_compressed_answer_is_measured_by_what_it_holds(
    server: Any, client: Any, target: Path
) -> None:
    server.say(gzip.compress(LINES), headers={"Content-Encoding": "gzip"})

    assert client.download("file-1", target, expected_bytes=len(LINES)) == len(LINES)
    assert target.read_bytes() == LINES


def test_an_empty_file_is_a_file(server: Any, client: Any, target: Path) -> None:
    server.say(b"")

    assert client.download("file-1", target, expected_bytes=0) == 0
    assert target.read_bytes() == b""


def test_a_cut_download_is_fetched_again(server: Any, client: Any, target: Path) -> None:
    server.say(LINES[:5000], announced_bytes=len(LINES)).say(LINES)

    assert client.download("file-1", target) == len(LINES)
    assert target.read_bytes() == LINES


def test_a_download_that_is_always_cut_leaves_nothing_behind(
    server: Any, client: Any, target: Path
) -> None:
    for _ in range(3):
        server.say(LINES[:5000], announced_bytes=len(LINES))

    with pytest.raises(IncompleteDownload, match="file-1"):
        client.download("file-1", target)

    assert list(target.parent.iterdir()) == []


def test_a_file_shorter_than_the_provider_says_is_incomplete(
    server: Any, client: Any, target: Path
) -> None:
    for _ in range(3):
        server.say(b"short\n")

    with pytest.raises(IncompleteDownload, match=r"only 6 of its 100 bytes"):
        client.download("file-1", target, expected_bytes=100)

    assert not target.exists()


def test_an_earlier_download_stays_until_the_next_is_whole(
    server: Any, client: Any, target: Path
) -> None:
    target.write_bytes(b"earlier")
    for _ in range(3):
        server.say(b"short\n")

    with pytest.raises(IncompleteDownload):
        client.download("file-1", target, expected_bytes=100)

    assert target.read_bytes() == b"earlier"


def test_a_file_that_is_gone_is_not_found(server: Any, client: Any, target: Path) -> None:
    server.refuse(404, "No such File object: file-1")

    with pytest.raises(NotFound, match="No such File object"):
        client.download("file-1", target)

    assert len(server.calls) == 1


def test_an_answer_that_stalls_is_unavailable(server: Any, client_of: Any, target: Path) -> None:
    client = client_of(server.url, request_timeout_seconds=0.1)
    for _ in range(3):
        server.say(LINES, delay_seconds=0.4)

    with pytest.raises(ProviderUnavailable, match="file-1"):
        client.download("file-1", target)


def test_a_wish_to_stop_ends_a_download(server: Any, client: Any, target: Path) -> None:
    server.say(LINES)
    stop = threading.Event()
    stop.set()

    with stop_signal(stop), pytest.raises(StopRequested):
        client.download("file-1", target)

    assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_told_apart_from_a_folder_that_is_wrong(target: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match=r"output\.jsonl"):
        save_stream(chunks(), target, expected_bytes=None)
    with pytest.raises(ConfigurationError, match="data directory"):
        save_stream(iter([b"a"]), target.parent / "no" / "such", expected_bytes=None)

    assert list(target.parent.iterdir()) == []


def test_an_upload_that_takes_ages_is_given_up(target: Path) -> None:
    target.write_bytes(b"abc")

    with (
        StoppableFile(target, patience_seconds=-10) as handle,
        pytest.raises(ProviderUnavailable, match="not done"),
    ):
        handle.read(1)


# Not `ru_maxrss`: a child inherits that of the process which started it.
PEAK_OF_A_ROUND_TRIP = r"""
    import json, re, sys
    from pathlib import Path
    from batching.settings import Settings
    from clients.openai_batches import OpenAIBatches

    url, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    client = OpenAIBatches(Settings(_env_file=None, openai_base_url=url, openai_api_key="x"))
    status = Path("/proc/self/status")
    peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024
    client.check()
    start = peak()
    file = client.upload(source, filename="large.jsonl")
    uploaded = peak()
    size = client.download(file.id, target, expected_bytes=source.stat().st_size)
    print(json.dumps({"size": size, "upload": uploaded - start, "download": peak() - uploaded}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_neither_an_upload_nor_a_download_is_held_in_memory(server: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "large.jsonl", tmp_path / "back.jsonl"
    size = 200_000_000
    with source.open("wb") as file:
        for _ in range(200):
            file.write((b'{"custom_id":"a"}' + b" " * 982 + b"\n") * 1000)
    server.remembers_content = False
    server.say({"data": []}).say({"id": "file-1"}).say_file(source)

    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(PEAK_OF_A_ROUND_TRIP),
            server.url,
            source,
            target,
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    measured = json.loads(ran.stdout)
    assert measured["size"] == size == target.stat().st_size
    assert measured["upload"] < size / 4
    assert measured["download"] < size / 4
