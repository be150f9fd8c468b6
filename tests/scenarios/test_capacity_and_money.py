"""Token limits and the daily budget: what is held back, why, and that it is never overshot."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from storage.directory import DataDirectory
from storage.reports.progress import lanes_report
from storage.snapshots import snapshot

Chat = Callable[..., dict[str, Any]]


def waits(installation: Any) -> list[str | None]:
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        return [lane["wait_reason"] for lane in lanes_report(reader)]


def largest_enqueued_tokens(installation: Any) -> int:
    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        return int(reader.value("SELECT max(tokens) FROM batches"))


def test_batches_keep_to_a_token_limit_that_the_operator_knows(
    installation: Any, chat: Chat
) -> None:
    created = installation.simulator.counters()["batches_created"]
    installation.drop("job.jsonl", [chat(f"limit {number:02d}") for number in range(40)])

    assert installation.run(token_limits={"gpt-4o": 200}) == 0

    assert installation.states == {"succeeded": 40}
    assert largest_enqueued_tokens(installation) <= 200
    assert installation.simulator.counters()["batches_created"] == created + 4


def test_a_request_above_a_certain_limit_fails_with_the_reason(
    installation: Any, chat: Chat
) -> None:
    long = chat("long", text="word " * 400)
    installation.drop("job.jsonl", [long, chat("short")])

    assert installation.run(token_limits={"gpt-4o-mini": 200}) == 3

    assert installation.states == {"succeeded": 1, "failed": 1}
    results = {line["custom_id"]: line for line in installation.results("job")}
    assert results["long"]["error"]["code"] == "obm_request_exceeds_token_limit"


def test_a_request_above_an_uncertain_limit_goes_alone(
    installation: Any, chat: Chat, tmp_path: Path
) -> None:
    table = tmp_path / "limits.csv"
    table.write_text("model,tokens\ngpt-4o-mini,200\n")
    installation.drop("job.jsonl", [chat("long", text="word " * 400), chat("short")])
    created = installation.simulator.counters()["batches_created"]

    assert installation.run(token_limit_table=table) == 0

    assert installation.states == {"succeeded": 2}
    assert installation.simulator.counters()["batches_created"] == created + 2


def test_a_budget_that_is_too_small_holds_everything_and_says_so(
    installation: Any, chat: Chat
) -> None:
    created = installation.simulator.counters()["batches_created"]
    installation.drop("job.jsonl", [chat(f"poor {number}") for number in range(10)])

    assert installation.run(max_spend_per_day=Decimal("0.00001")) == 4

    assert installation.states == {"pending": 10}
    assert waits(installation) == ["budget"]
    assert installation.simulator.counters()["batches_created"] == created


def test_a_budget_is_never_committed_twice_over(installation: Any, chat: Chat) -> None:
    budget = Decimal("0.001")
    installation.drop("job.jsonl", [chat(f"thrift {number}") for number in range(20)])

    assert installation.run(max_spend_per_day=budget) == 0

    with snapshot(DataDirectory(installation.data), max_age_seconds=0) as reader:
        batches = reader.rows("SELECT requests, expected_cost_usd, cost_usd FROM batches")
    assert len(batches) > 1
    spent = Decimal(0)
    for batch in batches:
        assert spent + batch["expected_cost_usd"] <= budget
        spent += batch["cost_usd"]
    assert spent <= budget


def test_a_model_without_a_price_is_held_when_there_is_a_budget(
    installation: Any, chat: Chat
) -> None:
    installation.drop("job.jsonl", [chat("unknown", model="my-own-model")])

    assert installation.run(max_spend_per_day=Decimal(10)) == 4

    assert waits(installation) == ["budget"]
    assert installation.run() == 0
