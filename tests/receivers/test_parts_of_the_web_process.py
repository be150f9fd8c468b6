"""Small parts of the web process on their own: what is bounded, what is remembered, what is cut."""

import asyncio
import gzip
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard

from batching.errors import BadInput, ConfigurationError, DiskFull
from batching.line_faults import RefusalCode
from batching.request_faults import request_faults
from batching.requests import ReadingRules, ReadRequest, read_request
from receivers.failure_limit import FailureLimit
from receivers.group_commit import GroupCommit, Verdict
from receivers.unpacking import unpacking_of
from receivers.watched_files import Watched
from storage.directory import DataDirectory
from storage.intake_log import IntakeLog
from storage.known_ids import KnownIds

LINE = (
    b'{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"%b"}}'
)


def parsed(line: bytes) -> ReadRequest:
    request = read_request(line, ReadingRules())
    assert isinstance(request, ReadRequest)
    return request


def test_failures_are_counted_by_address_and_forgotten_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = FailureLimit()
    assert [limit.count("192.0.2.1") for _ in range(11)] == [0.0] * 10 + [60.0]
    assert limit.count("192.0.2.2") == 0.0
    now += 61
    assert limit.count("192.0.2.1") == 0.0


def test_a_whole_network_of_version_6_is_one_client() -> None:
    limit = FailureLimit()
    waits = [limit.count(f"2001:db8::{number:x}") for number in range(11)]
    assert waits[9] == 0.0
    assert waits[10] > 0
    assert limit.count("2001:db8:0:1::1") == 0.0


def test_no_number_of_addresses_fills_the_memory() -> None:
    limit = FailureLimit()
    for number in range(12_000):
        limit.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit._windows) == 10_000


def test_a_watched_file_keeps_its_last_good_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = tmp_path / "value"
    path.write_text("1")

    def read() -> int:
        if not path.read_text().isdigit():
            raise ConfigurationError("no number")
        return int(path.read_text())

    watched = Watched(path, read)
    path.write_text("22")
    assert watched.now() == 1
    now += 1
    assert watched.now() == 22
    path.write_text("broken")
    now += 1
    assert watched.now() == 22


@pytest.mark.parametrize("encoding", [b"gzip", b"zstd"])
def test_packed_content_in_pieces_of_any_size_comes_out_whole(encoding: bytes) -> None:
    pack = gzip.compress if encoding == b"gzip" else zstandard.compress
    content = b"".join(b"%d\n" % number for number in range(20_000))
    packed = pack(content) + pack(b"more")
    for size in (1, 7, 4_096, len(packed)):
        unpacking = unpacking_of(encoding)
        assert unpacking is not None
        pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
        found = b"".join(block for piece in pieces for block in unpacking.feed(piece))
        unpacking.finish()
        assert found == content + b"more"


def test_a_bomb_comes_out_in_bounded_pieces() -> None:
    for encoding, packed in (
        (b"gzip", gzip.compress(bytes(200_000_000), 1)),
        (b"zstd", zstandard.compress(bytes(200_000_000))),
    ):
        unpacking = unpacking_of(encoding)
        assert unpacking is not None
        assert max(map(len, unpacking.feed(packed))) < 40_000_000


def test_content_without_its_end_is_refused() -> None:
    for encoding, packed in ((b"gzip", gzip.compress(b"x")), (b"zstd", zstandard.compress(b"x"))):
        unpacking = unpacking_of(encoding)
        assert unpacking is not None
        list(unpacking.feed(packed[:-1]))
        with pytest.raises(BadInput, match="cut off"):
            unpacking.finish()


def test_a_refused_request_always_has_a_fault_to_show() -> None:
    too_large = LINE % (b"x" * 2_000)
    rules = ReadingRules(largest_line_bytes=1_000)
    refusal = read_request(too_large, rules)
    assert not isinstance(refusal, ReadRequest)
    (fault,) = request_faults(too_large, refusal)
    assert (fault.code, fault.pointer) == (RefusalCode.LINE_TOO_LARGE, "")


class FullLog(IntakeLog):
    """A log whose disk is full for the first group."""

    is_full = True

    def write(self, lines: Sequence[bytes]) -> None:
        if self.is_full:
            self.is_full = False
            raise DiskFull("no space left")
        super().write(lines)


def test_an_id_whose_group_failed_can_come_again(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.create()
    log = FullLog(directory, role="web", seal_seconds=9, seal_bytes=10**9)
    known_ids = KnownIds(directory)

    async def story() -> list[object]:
        commit = GroupCommit(log, known_ids)
        one, other = LINE % b"1", LINE % b"2"
        failed = await asyncio.gather(
            *(commit.take("j", parsed(line), line) for line in (one, one, other)),
            return_exceptions=True,
        )
        taken = await asyncio.gather(
            *(commit.take("j", parsed(line), line) for line in (other, one, other))
        )
        await commit.close()
        return [*failed, *taken]

    found = asyncio.run(story())
    assert all(isinstance(each, DiskFull) for each in found[:3])
    assert found[3:] == [Verdict.ACCEPTED, Verdict.CONFLICT, Verdict.DUPLICATE]


def test_who_stops_waiting_leaves_the_others_of_his_group_waiting(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.create()
    log = IntakeLog(directory, role="web", seal_seconds=9, seal_bytes=10**9)

    async def story() -> list[Verdict | BaseException]:
        commit = GroupCommit(log, KnownIds(directory))
        line = LINE % b"1"
        waiting = [asyncio.create_task(commit.take("j", parsed(line), line)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        await commit.close()
        return found

    gone, *others = asyncio.run(story())
    assert isinstance(gone, asyncio.CancelledError)
    assert others == [Verdict.DUPLICATE, Verdict.DUPLICATE]
