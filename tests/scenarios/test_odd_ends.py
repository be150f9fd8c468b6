"""What a provider says of a batch's end is looked at again before anything is bought twice."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from fuzzed_answers import encoded
from spoiling_server import Call, Spoil, SpoilingServer

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine

Chat = Callable[..., dict[str, Any]]
NO_FILES = {"output_file_id": None, "error_file_id": None, "request_counts": None}


def once(kind: str, change: Callable[[Call], bytes]) -> Spoil:
    """Return what spoils the first answer of a kind only."""
    seen: list[Call] = []

    def spoil(call: Call) -> bytes | None:
        if call.kind != kind or seen:
            return None
        seen.append(call)
        return change(call)

    return spoil


def always(kind: str, change: Callable[[Call], bytes]) -> Spoil:
    return lambda call: change(call) if call.kind == kind else None


def polled(**changes: Any) -> Spoil:
    return once("poll", lambda call: encoded(call.value | changes))


ENDS: dict[str, Spoil] = {
    "failed": polled(status="failed", **NO_FILES),
    "expired": polled(status="expired", **NO_FILES),
    "cancelled": polled(status="cancelled", **NO_FILES),
    "completed": polled(status="completed", **NO_FILES),
    "a wrong output file": polled(output_file_id="file-nowhere"),
    "a number as output file": polled(output_file_id=7),
    "packed results": always("content", lambda call: gzip.compress(call.body)),
    "too large a size once": once("file", lambda call: encoded(call.value | {"bytes": 10**12})),
    "too large a size for ever": always(
        "file", lambda call: encoded(call.value | {"bytes": 10**12})
    ),
}


@pytest.mark.parametrize("odd", ENDS)
def test_an_odd_end_costs_no_answer_and_buys_nothing_twice(
    installation: Any, chat: Chat, odd: str
) -> None:
    before = installation.simulator.counters()
    with SpoilingServer(installation.simulator.url, ENDS[odd]) as server:
        installation.drop("job.jsonl", [chat(f"{odd} {number}") for number in range(5)])

        assert installation.run(openai_base_url=server.url) == 0

    after = installation.simulator.counters()
    assert installation.states == {"succeeded": 5}
    assert after["batches_created"] - before["batches_created"] == 1
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()
