"""However spoilt a provider's answers are, they are read, refused or waited out, never believed."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from factories import (
    INSTALLATION,
    Store,
    chat_lines,
    failure_line,
    not_run_line,
    success_line,
)
from fuzzed_answers import Spoiler
from spoiling_server import Call, SpoilingServer

from batching.errors import AmbiguousCreate, BatchManagerError
from batching.provider import ProviderBatch, ProviderFile
from batching.refusals import refusal_of
from batching.result_lines import Answer, OddLine, outcome_of, read_result_line
from batching.settings import Settings
from batching.wire import decode_wire_id
from clients.openai_batches import OpenAIBatches
from storage.answer_files import storable_status, storable_tokens
from storage.batch_files import error_path, output_path
from storage.doctor.diagnosis import examine

BATCH: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "model": "gpt-4o-mini",
    "errors": {
        "object": "list",
        "data": [
            {
                "code": "token_limit_exceeded",
                "message": "Enqueued token limit reached. Limit: 2,000 enqueued tokens.",
                "line": None,
                "param": None,
            },
            {"code": "invalid_json_line", "line": 3, "message": "bad", "param": "custom_id"},
        ],
    },
    "input_file_id": "file-1",
    "status": "completed",
    "output_file_id": "file-2",
    "error_file_id": None,
    "created_at": 1_790_000_000,
    "completed_at": 1_790_000_010,
    "request_counts": {"total": 10, "completed": 9, "failed": 1},
    "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    "metadata": {"obm_installation": INSTALLATION, "obm_batch": "1", "obm_attempt": "1"},
}
FILE = {"id": "file-2", "object": "file", "bytes": 10, "purpose": "batch_output", "filename": "x"}
PAGE = {"object": "list", "data": [BATCH, BATCH | {"id": "batch_2"}], "has_more": False}
MOST_NUMBER = 2**53


# Answers to calls -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoiler() -> Spoiler:
    return Spoiler(11)


@pytest.fixture
def client(spoiler: Spoiler) -> Iterator[OpenAIBatches]:
    """A client of a server that spoils whatever it is asked for."""
    nowhere = "http://127.0.0.1:9/v1"
    with SpoilingServer(nowhere, lambda call: _spoilt(spoiler, call), alone=True) as server:
        settings = Settings(_env_file=None, openai_api_key="any", openai_base_url=server.url)
        with closing(OpenAIBatches(settings, pause=lambda _: None)) as made:
            yield made


def _spoilt(spoiler: Spoiler, call: Call) -> bytes:
    if call.kind in {"list", "files"}:
        return spoiler.answer(PAGE if call.kind == "list" else PAGE | {"data": [FILE]})
    if call.kind == "content":
        return spoiler.file([success_line("a-1-1")])
    return spoiler.answer(FILE if call.kind in {"file", "upload"} else BATCH)


def ask_for_everything(client: OpenAIBatches, target: Path) -> int:
    """Ask for all there is to ask; return how many answers were believed."""
    calls: list[Callable[[], Any]] = [
        lambda: client.create(input_file_id="file-1", endpoint="/v1/embeddings", metadata={}),
        lambda: client.retrieve("batch_1"),
        lambda: client.cancel("batch_1"),
        lambda: list(client.list_batches()),
        lambda: list(client.list_files("batch")),
        lambda: client.file("file-2"),
        lambda: client.download("file-2", target),
        client.check,
    ]
    believed = 0
    refused: list[tuple[object, BatchManagerError]] = []
    for call in calls:
        try:
            check_storable(call())
            believed += 1
        except BatchManagerError as error:
            refused.append((call, error))
    for call, error in refused:
        str(error).encode()
        assert call is not calls[0] or isinstance(error, AmbiguousCreate), repr(error)
    return believed


def check_storable(told: Any) -> None:
    """Fail if an answer holds what the ledger cannot, or is about another batch."""
    for one in told if isinstance(told, list) else [told]:
        if not isinstance(one, ProviderBatch | ProviderFile):
            continue
        for name in one.__slots__:
            value = getattr(one, name)
            if isinstance(value, str):
                value.encode()
            if isinstance(value, int):
                assert 0 <= value <= MOST_NUMBER, (name, value)
        if isinstance(one, ProviderBatch):
            repr(refusal_of(one.errors)).encode()


def ask_often(client: OpenAIBatches, target: Path, rounds: int) -> int:
    return sum(ask_for_everything(client, target) for _ in range(rounds))


def test_spoilt_answers_to_calls_are_read_or_refused_and_creates_stay_open(
    client: OpenAIBatches, tmp_path: Path, proven: Callable[..., None]
) -> None:
    believed = ask_often(client, tmp_path / "file", 25)

    assert believed
    proven(faults=25 * 8, requests=0, lost=0, double_paid=0)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_thousand_spoilt_answers_to_calls_end_nothing(
    client: OpenAIBatches, tmp_path: Path, proven: Callable[..., None]
) -> None:
    ask_often(client, tmp_path / "file", 1_250)

    proven(faults=10_000, requests=0, lost=0, double_paid=0)


# Result files -----------------------------------------------------------------------------


def true_line(chance: random.Random, wire_id: str) -> bytes:
    return chance.choice((success_line, success_line, failure_line, not_run_line))(wire_id)


@pytest.mark.parametrize(
    "count",
    [10_000, pytest.param(300_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
    ids=["some", "many"],
)
def test_spoilt_lines_say_what_they_say_or_nothing(count: int, proven: Callable[..., None]) -> None:
    spoiler = Spoiler(12)
    for number in range(count):
        raw = spoiler.line(true_line(spoiler.chance, f"{INSTALLATION}-1-{number}"))
        for line in filter(None, (part.rstrip(b"\r") for part in raw.split(b"\n"))):
            check_line(line)
    proven(faults=count, requests=0, lost=0, double_paid=0)


def check_line(line: bytes) -> None:
    found = read_result_line(line)
    if isinstance(found, OddLine):
        found.reason.encode()
        return
    told = json.loads(line[found.id_start : found.id_end])
    assert told.encode("utf-8", "replace").decode() == found.custom_id
    for value in (found.error_code, found.error_message, found.content, found.request_id):
        assert value is None or value.encode() is not None
    if outcome_of(found, batch_status="completed") is Answer.SUCCEEDED:
        assert found.status_code is not None
        assert 200 <= found.status_code < 300
    storable_status(found.status_code)
    if found.usage:
        storable_tokens(found.usage.input_tokens)


@pytest.mark.parametrize(
    "rounds", [12, pytest.param(250, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_spoilt_files_lose_no_request_and_no_answer_that_can_be_read(
    tmp_path: Path, rounds: int, proven: Callable[..., None]
) -> None:
    store, spoiler = Store.at(tmp_path / "data"), Spoiler(13)
    store.run("UPDATE meta SET value = ? WHERE key = 'installation'", INSTALLATION)
    store.take_in(chat_lines(40))
    faults = 0
    for number in range(rounds):
        if not store.value("SELECT count(*) FROM requests WHERE state = 'pending'"):
            store.take_in(chat_lines(40, prefix=f"r{number}"), source_id=f"s{number + 2}")
        batch = store.ended()
        wires = store.wire_ids(batch)
        store.write_input(batch)
        files = {
            kind: spoiler.file([true_line(spoiler.chance, wire) for wire in wires])
            for kind in spoiler.chance.choice(((0,), (1,), (0, 1)))
        }
        paths = write_files(store, batch.batch_id, files)
        complete = spoiler.chance.random() < 0.8
        collected = store.collect_files(batch, paths, complete=complete)
        faults += len(wires)
        ended = collected.succeeded + collected.failed + collected.cancelled
        assert ended + collected.returned == len(wires)
        check_readable_answers(store, batch.batch_id, files)
        store.deliver()
    assert examine(store.directory, patience_seconds=0).findings == ()
    proven(faults=faults, requests=faults, lost=0, double_paid=0)


def write_files(store: Store, batch_id: int, files: dict[int, bytes]) -> dict[int, Path]:
    paths = {
        0: output_path(store.directory, batch_id), 1: error_path(store.directory, batch_id),
    }  # fmt: skip
    for kind, content in files.items():
        paths[kind].parent.mkdir(exist_ok=True)
        paths[kind].write_bytes(content)
    return {kind: paths[kind] for kind in files}


def check_readable_answers(store: Store, batch_id: int, files: dict[int, bytes]) -> None:
    """Each request with a line that says success has succeeded, and none without one has."""
    told: dict[tuple[int, int], bool] = {}
    for content in files.values():
        for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            found = read_result_line(line.rstrip(b"\r"))
            if isinstance(found, OddLine):
                continue
            ref = decode_wire_id(INSTALLATION, found.custom_id)
            success = outcome_of(found, batch_status="completed") is Answer.SUCCEEDED
            if ref is not None:
                place = (ref.segment, ref.row)
                told[place] = told.get(place, False) or success
    for row in store.rows(
        "SELECT segment, row_index, state FROM requests WHERE batch_id = ?", batch_id
    ):
        success = told.get((row["segment"], row["row_index"]), False)
        assert (row["state"] == "succeeded") is success, row
