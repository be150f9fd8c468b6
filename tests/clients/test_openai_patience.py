"""Long listings: a pause that the provider asks for is kept, and nothing piles up in memory."""

import tracemalloc
from typing import Any

import pytest

from batching.errors import AccountRefused, Throttled


def page(*numbers: int, has_more: bool) -> dict[str, Any]:
    entries = [{"id": f"batch_{number}", "status": "completed"} for number in numbers]
    return {"object": "list", "data": entries, "has_more": has_more}


def test_a_long_pause_between_pages_is_kept_and_no_page_is_read_twice(
    server: Any, client: Any, pauses: list[float]
) -> None:
    server.say(page(1, has_more=True))
    server.refuse(429, headers={"Retry-After": "90"})
    server.say(page(2, has_more=False))

    found = [batch.id for batch in client.list_batches(patience_seconds=100)]

    assert (found, pauses) == (["batch_1", "batch_2"], [90.0])
    assert [call.path for call in server.calls][1:] == [
        "/v1/batches?after=batch_1&limit=100"
    ] * 2  # fmt: skip


def test_patience_lasts_for_the_whole_listing(
    server: Any, client: Any, pauses: list[float]
) -> None:
    server.say(page(1, has_more=True))
    for _ in range(2):
        server.refuse(429, headers={"Retry-After": "60"})
    with pytest.raises(Throttled):
        list(client.list_batches(patience_seconds=100))
    assert pauses == [60.0]


def test_files_are_listed_with_the_same_patience(
    server: Any, client: Any, pauses: list[float]
) -> None:
    server.refuse(429, headers={"Retry-After": "30"})
    server.say({"data": [{"id": "file-1"}], "has_more": False})
    assert [file.id for file in client.list_files("batch", patience_seconds=40)] == ["file-1"]
    assert pauses == [30.0]


def test_no_patience_helps_a_key_that_is_refused(server: Any, client: Any) -> None:
    server.refuse(401)
    with pytest.raises(AccountRefused):
        list(client.list_batches(patience_seconds=1000))


def test_memory_stays_flat_over_many_pages(server: Any, client: Any) -> None:
    pages = 60
    for number in range(pages):
        numbers = range(number * 100, number * 100 + 100)
        server.say(page(*numbers, has_more=number < pages - 1))
    listing = client.list_batches()
    seen = sum(1 for _ in zip(range(1_000), listing, strict=False))
    tracemalloc.start()
    try:
        seen += sum(1 for _ in listing)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # `zip` has taken one more than it gave.
    assert seen >= pages * 100 - 1
    assert peak_bytes < 2_000_000
