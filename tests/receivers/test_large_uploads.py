"""An upload of a gigabyte is taken in whole, and the process stays small."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from web_process import StartWeb, Web, json_lines, request_line

LINES, CONTENT_BYTES, LINES_A_PIECE = 500_000, 1_900, 500
MOST_GROWTH_BYTES = 150_000_000


def pieces() -> Iterator[bytes]:
    """Yield a gigabyte of requests, each with an id of its own."""
    line = json_lines(request_line("ID-HERE", "x" * CONTENT_BYTES))
    before, after = line.split(b"ID-HERE")
    for first in range(0, LINES, LINES_A_PIECE):
        numbers = range(first, first + LINES_A_PIECE)
        yield b"".join(b"%bgb-%07d%b" % (before, number, after) for number in numbers)


def memory_bytes(web: Web, which: str) -> int:
    status = Path(f"/proc/{web.process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(f"{which}:"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/api/requests/bulk", "/api/files?name=large.jsonl"])
def test_a_gigabyte_is_taken_in_small_pieces_of_memory(start_web: StartWeb, path: str) -> None:
    web = start_web()
    before = memory_bytes(web, "VmRSS")
    answer = httpx.post(f"{web.url}{path}", content=pieces(), timeout=100)
    assert answer.status_code == 202, answer.text
    assert answer.json().get("accepted", LINES) == LINES
    stored = [each for each in web.directory.inbox.iterdir() if each.suffix == ".jsonl"]
    stored_bytes = sum(each.stat().st_size for each in stored)
    for each in stored:
        each.unlink()  # pytest keeps the folders of its last runs
    assert stored_bytes > 1_000_000_000
    assert memory_bytes(web, "VmHWM") - before < MOST_GROWTH_BYTES
