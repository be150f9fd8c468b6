"""A provider whose answers are spoilt again and again: nothing is lost, nothing bought twice."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from spoiling_server import SpoilingServer, SpoiltAnswers

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine

TALK = frozenset({"create", "poll", "list", "upload", "file", "files", "delete", "cancel"})
"""All that is said but the results; what is wrong with those may cost a request its answer."""


def run_spoilt(
    installation: Any, chat: Callable[..., dict[str, Any]], seed: int, kinds: frozenset[str]
) -> tuple[int, dict[str, int]]:
    """Send 30 requests in three batches; return how much was spoilt and what was counted."""
    share = random.Random(seed).choice((0.2, 0.4, 0.6))  # noqa: S311 - a seeded test
    before = installation.simulator.counters()
    spoil = SpoiltAnswers(seed, kinds, share=share)
    with SpoilingServer(installation.simulator.url, spoil) as server:
        installation.drop("job.jsonl", [chat(f"spoilt {seed} {number}") for number in range(30)])
        assert installation.run(openai_base_url=server.url, batch_max_requests=10) in {0, 3}
        spoilt = server.spoilt.total()
    after = installation.simulator.counters()
    names = ("batches_created", "lines_paid", "lines_paid_more_than_once")
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()
    results = [result["custom_id"] for result in installation.results("job")]
    assert sorted(results) == sorted(f"spoilt {seed} {number}" for number in range(30))
    return spoilt, {name: after[name] - before[name] for name in names}


def check_talk(installation: Any, chat: Any, seed: int, proven: Callable[..., None]) -> None:
    spoilt, counted = run_spoilt(installation, chat, seed, TALK)

    assert installation.states == {"succeeded": 30}
    assert counted == {"batches_created": 3, "lines_paid": 30, "lines_paid_more_than_once": 0}
    proven(faults=spoilt, requests=30, lost=0, double_paid=0)


def check_results(installation: Any, chat: Any, seed: int, proven: Callable[..., None]) -> None:
    """Spoilt results may be bought again, and each is delivered once all the same."""
    spoilt, counted = run_spoilt(installation, chat, seed, TALK | {"content"})

    assert counted["batches_created"] >= 3
    proven(faults=spoilt, requests=30, lost=0, double_paid=0)


@pytest.mark.parametrize("seed", [1])
def test_spoilt_talk_buys_each_request_once(
    installation: Any, chat: Any, seed: int, proven: Callable[..., None]
) -> None:
    check_talk(installation, chat, seed, proven)


@pytest.mark.parametrize("seed", [101])
def test_spoilt_results_lose_no_request(
    installation: Any, chat: Any, seed: int, proven: Callable[..., None]
) -> None:
    check_results(installation, chat, seed, proven)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 22))
def test_much_spoilt_talk_buys_each_request_once(
    installation: Any, chat: Any, seed: int, proven: Callable[..., None]
) -> None:
    check_talk(installation, chat, seed, proven)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(102, 112))
def test_many_spoilt_results_lose_no_request(
    installation: Any, chat: Any, seed: int, proven: Callable[..., None]
) -> None:
    check_results(installation, chat, seed, proven)
