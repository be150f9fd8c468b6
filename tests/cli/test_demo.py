"""`obm demo`: it shows everything, proves its own result, and touches nothing of the user's."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import Obm
from factories import chat_line
from running_commands import environment_of

from deployments.demo import EXAMPLES, MARKER, _environment, _fresh_folder, example_files
from deployments.demo_check import Books, checks_of
from deployments.demo_story import sentence_of
from storage.directory import DataDirectory

BOOKS = Books(batches_created=0, lines_paid=2, bodies_paid_twice=0)


@pytest.mark.slow
@pytest.mark.prefect
def test_the_demo_ends_well_and_shows_that_everything_holds(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:1/v1\nOBM_BATCH_MAX_WAIT=9\n")
    finished = subprocess.run(
        ["obm", "demo"], cwd=tmp_path, env=environment_of({"OBM_DATA_DIR": tmp_path / "mine"}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stdout.count("✓"), "✗" in finished.stdout) == (
        0, 6, False,
    ), finished.stdout + finished.stderr  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "demo-data"]


def test_a_folder_of_somebody_else_is_left_alone(obm: Obm, folder: Path) -> None:
    (folder / "demo-data").mkdir()
    (folder / "demo-data" / "mine.txt").write_text("precious")
    said = obm("demo")
    assert (said.code, "was not made by a demo" in said.err) == (2, True)
    assert (folder / "demo-data" / "mine.txt").read_text() == "precious"


def test_an_earlier_demos_folder_is_made_fresh(tmp_path: Path) -> None:
    folder = _fresh_folder(tmp_path / "demo-data")
    (folder / "old.txt").write_text("")
    assert [path.name for path in _fresh_folder(folder).iterdir()] == [MARKER]


def test_the_users_own_settings_never_reach_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OBM_TOKEN_LIMITS", "RABBITMQ_URL", "PREFECT_API_URL"):
        monkeypatch.setenv(name, "the user's")
    environment = _environment(DataDirectory(tmp_path), "http://simulator/v1")
    assert "the user's" not in environment.values()
    assert environment["OPENAI_BASE_URL"] == "http://simulator/v1"


def test_without_example_files_it_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="come with the repository"):
        example_files(tmp_path)


def test_the_examples_are_what_their_script_writes(tmp_path: Path) -> None:
    script = tmp_path / "make_examples.py"
    script.write_bytes((EXAMPLES / "make_examples.py").read_bytes())
    subprocess.run([sys.executable, script], check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {
        path.name: (EXAMPLES / path.name).read_bytes() for path in tmp_path.iterdir()
    }
    assert len(written) == 6


def test_the_examples_hold_enough_to_show(obm: Obm) -> None:
    estimate = obm("estimate", *example_files(EXAMPLES), "--json").json
    assert estimate["total"]["requests"] >= 1_000
    assert len({lane["endpoint"] for lane in estimate["lanes"]}) >= 3
    assert len({lane["model"] for lane in estimate["lanes"]}) >= 2
    assert estimate["total"]["models_without_price"] == []
    assert sum(file["rejected"] for file in estimate["files"]) == 5


def result(custom_id: str, status: int = 200) -> dict[str, Any]:
    return {"custom_id": custom_id, "response": {"status_code": status}, "error": None}


GOOD = (result("a"), result("b"), result("c", 400))


def failing(
    root: Path, *, delivered: Sequence[dict[str, Any]] = GOOD, books: Books = BOOKS
) -> list[str]:
    """Return the first words of what does not hold for three requests and a bad line."""
    directory = DataDirectory(root / "data")
    directory.create()
    file = root / "tickets.jsonl"
    file.write_bytes(b"\n".join([chat_line("a"), chat_line("b"), b"{", chat_line("c")]) + b"\n")
    write(directory.rejected / "s1__tickets.jsonl.jsonl", [{"line": 3, "reason": "not JSON"}])
    write(directory.outbox / "tickets" / "results.jsonl", delivered)
    write(directory.outbox / "tickets" / "results.sorted.jsonl", GOOD)
    return [check.claim for check in checks_of(directory, [file], books) if not check.holds]


def write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_is_right_holds(tmp_path: Path) -> None:
    (only,) = failing(tmp_path)  # without a ledger no request can have run again
    assert only.startswith("0 requests failed with 429")


@pytest.mark.parametrize(
    "delivered",
    [
        GOOD[1:],
        (*GOOD, GOOD[0]),
        (*GOOD, result("d")),
        (result("a"), result("b"), result("x", 400)),
    ],
    ids=["missing", "twice", "foreign", "other"],
)
def test_an_outbox_that_differs_from_the_inputs_is_found(
    tmp_path: Path, delivered: Sequence[dict[str, Any]]
) -> None:
    assert any("exactly once" in claim for claim in failing(tmp_path, delivered=delivered))


def test_an_error_that_should_have_been_retried_is_found(tmp_path: Path) -> None:
    delivered = (*GOOD[:2], result("c", 429))
    assert any("all of them 400" in claim for claim in failing(tmp_path, delivered=delivered))


@pytest.mark.parametrize(
    "books",
    [
        Books(batches_created=1, lines_paid=2, bodies_paid_twice=0),
        Books(batches_created=0, lines_paid=3, bodies_paid_twice=0),
        Books(batches_created=0, lines_paid=2, bodies_paid_twice=1),
    ],
    ids=["one batch too many", "one line too many", "one body twice"],
)
def test_books_that_do_not_agree_are_found(tmp_path: Path, books: Books) -> None:
    assert any("books agree" in claim for claim in failing(tmp_path, books=books))


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            {"entity": "source", "event": "taken_in", "name": "a.csv", "requests": 1, "failed": 0},
            "a.csv is taken in: 1 request",
        ),
        (
            {"entity": "batch", "event": "collected", "name": "3", "requests": 10, "failed": 2,
             "returned": 3},
            "batch 3 came back: 5 answered, 2 failed for good, 3 go out again",
        ),
        ({"entity": "batch", "event": "uploaded", "name": "3"}, None),
    ],
)  # fmt: skip
def test_events_are_told_in_words(event: dict[str, Any], sentence: str | None) -> None:
    assert sentence_of(event) == sentence
