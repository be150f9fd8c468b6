"""Sending requests from the dashboard, without a browser."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factories import Store
from looks import Looker

from batching.access import Scope
from batching.destinations import Reach
from batching.errors import BadInput, DiskFull
from batching.requests import ReadingRules, ReadRequest, read_request
from dashboards.actions import sending
from storage.directory import DataDirectory
from storage.formats import SourceFormat
from storage.held_actions import start_on_record
from storage.held_estimates import estimate_held_file, read_estimate
from storage.held_files import StartedFile, held_file, held_files, hold, start_held_file
from storage.intake_gate import pause_intake
from storage.ledger import Ledger
from storage.reports.terms import Terms
from storage.uploaded_files import UploadedFile


def written(store: Store, count: int = 3) -> str:
    made: list[str] = []
    deed = sending.write_samples(store.directory, model="gpt-4o", count=count, made=made.append)
    deed(store.ledger, "tester")
    return made[0]


def estimate(store: Store, held: str) -> None:
    looker = Looker(store.directory)
    found = held_file(store.directory, held)
    assert found is not None
    estimate_held_file(
        found, terms=Terms.of(looker.settings), caps={}, rules=ReadingRules(),
        on_progress=lambda _: None,
    )  # fmt: skip


def test_samples_are_valid_requests_that_wait(store: Store) -> None:
    held = held_file(store.directory, written(store, count=12))
    assert held is not None
    lines = [read_request(line, ReadingRules()) for line in held.path.read_bytes().splitlines()]
    assert all(isinstance(line, ReadRequest) for line in lines)
    assert len({line.custom_id for line in lines if isinstance(line, ReadRequest)}) == 12
    assert list(store.directory.inbox.iterdir()) == []


def test_the_page_of_a_file_shows_its_price_once_it_was_read(store: Store) -> None:
    looker, held = Looker(store.directory), written(store)
    address = f"/ui/upload/{held}"
    assert "Reading the file" in looker.tile(address, "whole")
    assert "disabled>Start" in looker.tile(address, "whole")
    estimate(store, held)
    assert "Start: send 3 requests" in looker.tile(address, "whole")
    made: list[StartedFile] = []
    deed = sending.start(store.directory, held, again=False, made=made.append)
    assert deed(store.ledger, "tester").text.endswith("is on its way.")
    assert made[0].job.startswith("sample-")
    assert "This file waits no more" in looker.tile(address, "whole")
    with pytest.raises(BadInput, match="does not wait any more"):
        deed(store.ledger, "tester")


def test_a_file_may_be_read_by_several_at_once(store: Store) -> None:
    held = written(store)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: estimate(store, held), range(60)))
    found = held_file(store.directory, held)
    assert found is not None
    kept = read_estimate(found)
    assert kept is not None
    assert kept.accepted == 3


def test_one_request_goes_to_its_job(store: Store) -> None:
    made: list[str] = []
    deed = sending.send_one(
        store.directory, model=" gpt-4o ", prompt="Hi", job="mine", made=made.append
    )
    deed(store.ledger, "tester")
    assert made == ["mine"]
    (file,) = store.directory.inbox.glob("one-*.jsonl")
    assert json.loads(file.read_text())["body"]["model"] == "gpt-4o"
    (side_file,) = store.directory.inbox.glob("one-*.job.json")
    assert json.loads(side_file.read_text()) == {"label": "mine"}


@pytest.mark.parametrize(
    ("model", "prompt"),
    [("", "Hi"), ("  ", "Hi"), ("m\n", ""), ("m", " \n "), ("m", "x" * 100_001)],
)
def test_half_a_request_is_refused_in_words(store: Store, model: str, prompt: str) -> None:
    deed = sending.send_one(store.directory, model=model, prompt=prompt, job="j", made=print)
    with pytest.raises(BadInput):
        deed(store.ledger, "tester")
    assert list(store.directory.inbox.iterdir()) == []


def test_nothing_is_sent_while_intake_is_paused(store: Store) -> None:
    held = written(store)
    pause_intake(store.directory, actor="cli:me", reason=None)
    with pytest.raises(BadInput, match=r"paused by cli:me"):
        sending.start(store.directory, held, again=False, made=print)(store.ledger, "tester")
    assert held_file(store.directory, held) is not None


def hold_lines(directory: DataDirectory, text: bytes, name: str) -> str:
    with UploadedFile(directory, SourceFormat.JSONL) as upload:
        upload.write(text)
        return hold(directory, upload, name, side_settings={"label": "l"}).held


def test_a_file_that_was_only_half_put_down_does_not_wait(store: Store) -> None:
    held = hold_lines(store.directory, b"{}\n", "a.jsonl")
    found = held_file(store.directory, held)
    assert found is not None
    assert read_estimate(found) is None
    found.path.unlink()
    assert held_file(store.directory, held) is None
    assert held_files(store.directory) == []
    assert start_held_file(store.directory, held) is None


def test_a_taken_name_in_the_inbox_gets_a_number(store: Store) -> None:
    (store.directory.inbox / "a.jsonl").write_text("{}\n")
    started = start_held_file(store.directory, hold_lines(store.directory, b"{}\n", "a.jsonl"))
    assert started is not None
    assert (started.file, started.job) == ("a-2.jsonl", "l")
    assert Path(store.directory.inbox / "a-2.job.json").exists()


def test_reading_can_be_given_up_and_begun_anew(store: Store) -> None:
    found = held_file(store.directory, written(store))
    assert found is not None

    def give_up(_read_bytes: int) -> None:
        raise TimeoutError

    terms = Terms.of(Looker(store.directory).settings)
    with pytest.raises(TimeoutError):
        estimate_held_file(found, terms=terms, caps={}, rules=ReadingRules(), on_progress=give_up)
    assert read_estimate(found) is None
    estimate(store, found.held)
    again = read_estimate(found)
    assert again is not None
    assert again.accepted == 3


def test_who_started_and_discarded_what_is_in_the_trail_and_on_its_page(store: Store) -> None:
    first, second = written(store), written(store)
    names = [str(held_file(store.directory, held).file) for held in (first, second)]  # type: ignore[union-attr]  # both wait
    made: list[StartedFile] = []
    sending.start(store.directory, first, again=False, made=made.append)(store.ledger, "mia")
    sending.discard(store.directory, second)(store.ledger, "mia")
    assert sending.discard(store.directory, second)(store.ledger, "mia").tone == "info"
    rows = store.rows("SELECT entity_id, target, actor FROM transitions WHERE entity = 'file'")
    assert [tuple(row.values()) for row in rows] == [
        (names[0], "started", "mia"), (names[1], "discarded", "mia"),
    ]  # fmt: skip
    shown = Looker(store.directory).tile("/ui/audit?entity=file", "rows")
    assert names[0] in shown
    assert 'href="/ui/upload"' in shown


def test_a_file_is_started_also_when_that_cannot_be_written_down(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> Ledger:
        raise DiskFull("no space left")

    held = written(store)
    started = start_on_record(store.directory, held, again=False, actor="mia", ledger=full)
    assert started is not None
    assert (store.directory.inbox / started.file).exists()
    assert f"{started.file} was started by mia: not in the trail (no space left)" in caplog.text


REACH = Reach(names=frozenset({"crm"}))


def test_what_is_chosen_for_a_file_counts_before_what_it_came_with(store: Store) -> None:
    held = written(store)
    made: list[StartedFile] = []
    chosen = sending.chosen_settings(" mine ", "named:crm", REACH)
    sending.start(
        store.directory, held, again=False, made=made.append, side_settings=chosen
    )(store.ledger, "mia")  # fmt: skip
    assert made[0].job == "mine"
    side_file = store.directory.inbox / f"{made[0].file.removesuffix('.jsonl')}.job.json"
    assert json.loads(side_file.read_bytes()) == {
        "label": "mine", "delivery_config": {"type": "named", "name": "crm"}
    }  # fmt: skip


def test_nothing_has_to_be_chosen_and_what_cannot_be_is_refused() -> None:
    assert sending.chosen_settings("", "", REACH) == {}
    assert sending.chosen_settings("", "file", REACH) == {"delivery_config": {"type": "file"}}
    with pytest.raises(BadInput, match="no destination is named 'away'"):
        sending.chosen_settings("", "named:away", REACH)
    with pytest.raises(BadInput, match="visible characters"):
        sending.chosen_settings("a\x01b", "", REACH)


def test_a_file_that_waits_offers_its_job_and_the_named_destinations(store: Store) -> None:
    (store.directory.root / "destinations.toml").write_text(
        '[crm]\ntype = "webhook"\nurl = "https://crm.example/in"\n'
    )
    looker, held = Looker(store.directory), written(store)
    shown = looker.tile(f"/ui/upload/{held}", "choices")
    assert '<option value="named:crm">Destination crm</option>' in shown
    assert 'placeholder="sample-' in shown
    assert looker.tile(f"/ui/upload/{held}", "choices", scopes={Scope.READ}) == ""
    assert looker.tile("/ui/upload/0123456789abcdef", "choices") == ""
    (store.directory.root / "destinations.toml").write_text("not toml at all")
    assert "Destination" not in looker.tile(f"/ui/upload/{held}", "choices")
