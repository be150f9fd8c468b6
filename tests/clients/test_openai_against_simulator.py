"""The client against the product's own simulator: a server that nobody scripted."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batching.errors import AmbiguousCreate, CapacityExceeded, InputFileNotVisible
from batching.provider import Phase, ProviderBatch
from batching.refusals import TokenLimit, refusal_of
from batching.result_lines import Answer, ResultLine, outcome_of, read_result_line
from simulator.process import SimulatorProcess

POLLS = 200


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture
def scenarios(simulator: SimulatorProcess) -> Iterator[Callable[..., None]]:
    yield simulator.set_scenarios
    simulator.clear_scenarios()


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    path = tmp_path / "input.jsonl"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    lines = (
        {"custom_id": f"w-{row}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for row in range(12)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def create(client: Any, input_file: Path) -> ProviderBatch:
    file = client.upload(input_file, filename="input.jsonl")
    created: ProviderBatch = client.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", metadata={"obm_batch": "1"}
    )
    return created


def ended(client: Any, batch_id: str) -> ProviderBatch:
    for _ in range(POLLS):
        batch: ProviderBatch = client.retrieve(batch_id)
        if batch.phase is Phase.ENDED:
            return batch
        time.sleep(0.02)
    raise AssertionError(f"{batch_id} does not end")


def test_a_batch_goes_the_whole_way(
    simulator: SimulatorProcess, client_of: Any, input_file: Path, tmp_path: Path
) -> None:
    client = client_of(simulator.url)
    client.check()

    batch = ended(client, create(client, input_file).id)

    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 12, 12, 0)
    assert batch.metadata == {"obm_batch": "1"}
    assert batch.error_file_id is None
    output = client.file(batch.output_file_id)
    target = tmp_path / "output.jsonl"
    assert client.download(output.id, target, expected_bytes=output.bytes) == output.bytes
    lines = [read_result_line(line) for line in target.read_bytes().splitlines()]
    assert {line.custom_id for line in lines if isinstance(line, ResultLine)} == {
        f"w-{row}" for row in range(12)
    }
    assert {
        outcome_of(line, batch_status="completed") for line in lines if isinstance(line, ResultLine)
    } == {Answer.SUCCEEDED}
    assert batch.id in [found.id for found in client.list_batches(batch.created_at)]
    assert output.id in [found.id for found in client.list_files("batch_output")]
    assert client.cancel(batch.id).status == "completed"


@pytest.mark.parametrize("status", [400, 429])
def test_a_token_limit_is_learned_from_a_refused_create(
    simulator: SimulatorProcess,
    client_of: Any,
    input_file: Path,
    scenarios: Callable[..., None],
    status: int,
) -> None:
    scenarios(f"token_limit:as={status},limit=90000")

    with pytest.raises(CapacityExceeded) as caught:
        create(client_of(simulator.url), input_file)

    assert caught.value.limit_tokens == 90_000


def test_a_token_limit_is_learned_from_a_failed_batch(
    simulator: SimulatorProcess, client_of: Any, input_file: Path, scenarios: Callable[..., None]
) -> None:
    client = client_of(simulator.url)
    scenarios("token_limit:limit=90000")

    batch = ended(client, create(client, input_file).id)

    refusal = refusal_of(batch.errors)
    assert batch.status == "failed"
    assert isinstance(refusal, TokenLimit)
    assert refusal.limit_tokens == 90_000


def test_a_file_that_is_not_found_yet_is_found_by_the_next_create(
    simulator: SimulatorProcess, client_of: Any, input_file: Path, scenarios: Callable[..., None]
) -> None:
    client = client_of(simulator.url)
    scenarios("cannot_find_file")
    file = client.upload(input_file, filename="input.jsonl")
    wish = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "metadata": {}}

    with pytest.raises(InputFileNotVisible):
        client.create(**wish)

    assert client.create(**wish).input_file_id == file.id


def test_a_cut_download_is_whole_at_the_second_attempt(
    simulator: SimulatorProcess,
    client_of: Any,
    input_file: Path,
    tmp_path: Path,
    scenarios: Callable[..., None],
) -> None:
    client = client_of(simulator.url)
    scenarios("cut_downloads")
    output = client.file(ended(client, create(client, input_file).id).output_file_id)

    size = client.download(output.id, tmp_path / "out.jsonl", expected_bytes=output.bytes)

    assert size == output.bytes


def test_a_create_without_an_answer_is_found_again_by_its_metadata(
    simulator: SimulatorProcess, client_of: Any, input_file: Path, scenarios: Callable[..., None]
) -> None:
    client = client_of(simulator.url, create_timeout_seconds=0.3)
    file = client.upload(input_file, filename="input.jsonl")
    scenarios("slow_create")

    with pytest.raises(AmbiguousCreate):
        client.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", metadata={"obm_batch": "2"}
        )

    found = [batch for batch in client.list_batches() if batch.input_file_id == file.id]
    assert [batch.metadata for batch in found] == [{"obm_batch": "2"}]
