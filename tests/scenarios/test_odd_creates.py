"""Whatever a create is answered with, its batch is found and paid once."""

from collections.abc import Callable
from typing import Any

import pytest
from fuzzed_answers import encoded
from spoiling_server import Call, SpoilingServer

from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine

ODD: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "no answer": lambda _: b"",
    "a page": lambda _: b"<html>Sign in</html>",
    "cut": lambda made: encoded(made)[:30],
    "no id": lambda made: encoded({key: made[key] for key in made if key != "id"}),
    "a number": lambda made: encoded(made | {"id": 7}),
    "a list": lambda made: encoded([made]),
    "another id": lambda made: encoded(made | {"id": "24h"}),
    "a file's id": lambda made: encoded(made | {"id": made["input_file_id"]}),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_create_with_an_odd_answer_is_looked_for_and_not_repeated(
    installation: Any, chat: Callable[..., dict[str, Any]], odd: str
) -> None:
    def spoil(call: Call) -> bytes | None:
        return ODD[odd](call.value) if call.kind == "create" else None

    before = installation.simulator.counters()
    with SpoilingServer(installation.simulator.url, spoil) as server:
        installation.drop("job.jsonl", [chat(f"{odd} {number}") for number in range(6)])

        assert installation.run(openai_base_url=server.url, batch_max_requests=3) == 0

    after = installation.simulator.counters()
    assert installation.states == {"succeeded": 6}
    assert after["batches_created"] - before["batches_created"] == 2
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    assert examine(DataDirectory(installation.data), patience_seconds=0).findings == ()


def test_a_create_answered_with_an_earlier_batch_is_looked_for(
    installation: Any, chat: Callable[..., dict[str, Any]]
) -> None:
    first: list[bytes] = []
    before = installation.simulator.counters()

    def spoil(call: Call) -> bytes | None:
        if call.kind == "create":
            first.append(call.body)
        return first[0] if call.kind == "create" else None

    with SpoilingServer(installation.simulator.url, spoil) as server:
        installation.drop("job.jsonl", [chat(f"same {number}") for number in range(6)])

        assert installation.run(openai_base_url=server.url, batch_max_requests=3) == 0

    assert len(first) == 2
    assert installation.states == {"succeeded": 6}
    after = installation.simulator.counters()
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
