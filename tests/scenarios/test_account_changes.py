"""A changed key, project or address: what was bought stays its account's, the rest goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from simulator.process import SimulatorProcess


def test_what_was_not_sent_goes_to_the_newly_configured_account(
    installation: Any, chat: Callable[..., dict[str, Any]]
) -> None:
    installation.drop("job.jsonl", [chat(f"moved {number}") for number in range(10)])
    nowhere = {"openai_base_url": "http://127.0.0.1:9/v1"}

    assert installation.run(**nowhere, timeout_seconds=4) == 4
    assert installation.states == {"batched": 10}
    assert installation.run() == 0
    assert installation.states == {"succeeded": 10}


def test_a_batch_of_another_account_is_left_alone_until_that_account_is_back(
    installation: Any, chat: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    installation.simulator.set_scenarios("stuck:phase=in_progress", next_batches=1)
    installation.drop("job.jsonl", [chat(f"stays {number}") for number in range(10)])
    assert installation.run(timeout_seconds=4) == 4
    created = installation.simulator.counters()["batches_created"]

    with SimulatorProcess(tmp_path / "elsewhere") as elsewhere:
        other = {"openai_base_url": elsewhere.url, "openai_api_key": SecretStr("other")}
        assert installation.run(**other, timeout_seconds=10) == 4
        assert elsewhere.counters()["batches_created"] == 0
        assert elsewhere.counters()["calls"].get("batches.retrieve", 0) == 0
    installation.simulator.release()
    assert installation.run() == 0

    assert installation.states == {"succeeded": 10}
    assert installation.simulator.counters()["batches_created"] == created


def test_a_stopped_account_resumes_when_its_key_is_corrected(
    installation: Any, chat: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with SimulatorProcess(tmp_path / "strict", api_key="right") as strict:
        installation.drop("job.jsonl", [chat(f"key {number}") for number in range(10)])
        wrong = {"openai_base_url": strict.url, "openai_api_key": SecretStr("wrong")}
        right = {"openai_base_url": strict.url, "openai_api_key": SecretStr("right")}

        assert installation.run(**wrong) == 2
        assert installation.run(**right) == 0
        assert strict.counters()["batches_created"] == 1
