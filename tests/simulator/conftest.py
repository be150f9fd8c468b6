from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from openai import OpenAI

from simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from openai.types import Batch, FileObject

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
DEADLINE_SECONDS = 30


class Account:
    """What a client does with the simulator, in few words."""

    def __init__(self, simulator: SimulatorProcess, folder: Path, client: OpenAI) -> None:
        self.simulator = simulator
        self.folder = folder
        self.client = client

    def lines(
        self, count: int, *, start: int = 0, model: str = "gpt-4o-mini"
    ) -> list[dict[str, Any]]:
        """Return chat requests whose bodies nobody else sends."""
        return [
            request(
                f"id-{number}", CHAT, {"model": model, "messages": user(f"{self.folder} {number}")}
            )
            for number in range(start, start + count)
        ]

    def upload(self, lines: Iterable[Mapping[str, Any] | bytes]) -> FileObject:
        path = self.folder / f"input-{time.monotonic_ns()}.jsonl"
        with path.open("wb") as file:
            for line in lines:
                raw = line if isinstance(line, bytes) else json.dumps(line).encode()
                file.write(raw + b"\n")
        with path.open("rb") as file:
            return self.client.files.create(file=file, purpose="batch")

    def create(self, file_id: str, endpoint: Any = CHAT) -> Batch:
        return self.client.batches.create(
            input_file_id=file_id, endpoint=endpoint, completion_window="24h"
        )

    def start(self, lines: Iterable[Mapping[str, Any] | bytes], endpoint: str = CHAT) -> Batch:
        return self.create(self.upload(lines).id, endpoint)

    def run(self, lines: Iterable[Mapping[str, Any] | bytes], endpoint: str = CHAT) -> Batch:
        return self.wait(self.start(lines, endpoint))

    def wait(self, batch: Batch, *statuses: str) -> Batch:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while batch.status not in (statuses or ENDED):
            assert time.monotonic() < deadline, f"still {batch.status}"
            time.sleep(0.01)
            batch = self.client.batches.retrieve(batch.id)
        return batch

    def raw(self, file_id: str | None) -> bytes:
        return self.client.files.content(file_id).read() if file_id else b""

    def output(self, batch: Batch) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw(batch.output_file_id).splitlines()]

    def errors(self, batch: Batch) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw(batch.error_file_id).splitlines()]


def request(custom_id: str, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def open_client(simulator: SimulatorProcess, key: str = "sk-test") -> OpenAI:
    return OpenAI(base_url=simulator.url, api_key=key, max_retries=0, timeout=20)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with SimulatorProcess(tmp_path_factory.mktemp("simulator")) as process:
        yield process


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., Account]]:
    opened: list[Account] = []

    def open_account(simulator: SimulatorProcess, **options: str) -> Account:
        opened.append(Account(simulator, tmp_path, open_client(simulator, **options)))
        return opened[-1]

    yield open_account
    for each in opened:
        each.client.close()


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[OpenAI]:
    with open_client(simulator) as client:
        yield client


@pytest.fixture
def account(simulator: SimulatorProcess, client: OpenAI, tmp_path: Path) -> Account:
    simulator.clear_scenarios()
    return Account(simulator, tmp_path, client)
