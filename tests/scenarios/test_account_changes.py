"""A changed key, project or address: what was bought stays its account's, the rest goes on."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows
from pydantic import SecretStr

from simulator.process import SimulatorProcess
from tasks.resources import Resources, using


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


def one_pass(installation: Any, *flows: str, **changes: object) -> None:
    """Run these flows once."""
    resources = Resources(installation.settings.model_copy(update=changes), close_at_once=True)
    with using(resources), closing(resources):
        for name in flows:
            plain_flows()[name]()


def told_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the operator was told of a refused account."""
    return [
        getattr(record, "problem", "")
        for record in caplog.records
        if record.levelname == "ERROR" and "refuses the account" in record.getMessage()
    ]


@pytest.mark.timeout(300)
def test_a_key_of_another_project_buys_nothing_again(
    installation: Any, chat: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    installation.drop("job.jsonl", [chat(f"project {number}") for number in range(10)])
    one_pass(installation, "ingest", "submit")
    created = installation.simulator.counters()["batches_created"]
    other = {"openai_api_key": SecretStr("key of another project")}

    # Every batch answers 404 there, for longer than one that is lost is waited for.
    assert installation.run(**other) == 2
    (told,) = told_of(caplog)
    assert "was the key or the project changed?" in told

    assert installation.simulator.counters()["batches_created"] == created
    assert installation.states == {"batched": 10}
    assert installation.run() == 0
    assert installation.states == {"succeeded": 10}
    assert installation.simulator.counters()["batches_created"] == created


@pytest.mark.timeout(300)
def test_a_key_that_is_revoked_while_a_batch_runs_buys_nothing_again(
    installation: Any, chat: Callable[..., dict[str, Any]], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with SimulatorProcess(tmp_path / "strict", api_key="right") as strict:
        right = {"openai_base_url": strict.url, "openai_api_key": SecretStr("right")}
        installation.drop("job.jsonl", [chat(f"revoked {number}") for number in range(10)])
        one_pass(installation, "ingest", "submit", **right)

        revoked = right | {"openai_api_key": SecretStr("revoked")}
        assert installation.run(**revoked) == 2
        (told,) = told_of(caplog)
        assert "Check the key" in told

        assert installation.states == {"batched": 10}
        assert installation.run(**right) == 0
        assert installation.states == {"succeeded": 10}
        assert strict.counters()["batches_created"] == 1
        assert strict.counters()["lines_paid_more_than_once"] == 0
