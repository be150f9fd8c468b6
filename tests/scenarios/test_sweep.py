"""`obm sweep`: what the account holds that nobody here knows, and what is done about it."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows
from typer.testing import CliRunner

from batching.ownership import Stamp, input_file_name
from batching.provider import ProviderBatch
from clients.openai_batches import OpenAIBatches
from deployments.cli import application
from storage.directory import DataDirectory
from storage.ledger import Ledger
from storage.submission_lock import lock_submission, submission_lock
from tasks.resources import Resources, using

Chat = Callable[..., dict[str, Any]]


class Sweeping:
    """An installation, its provider by hand, and the command line on both."""

    def __init__(self, installation: Any, provider: OpenAIBatches, folder: Path) -> None:
        self.installation = installation
        self.provider = provider
        self.folder = folder
        self.ledger = Ledger.open(DataDirectory(installation.data))
        self.name = self.ledger.installation()

    def obm(self, *arguments: str, **environment: str) -> Any:
        """Run `obm` in this process."""
        settings = self.installation.settings
        known = {
            "OPENAI_API_KEY": settings.openai_api_key.get_secret_value(),
            "OPENAI_BASE_URL": settings.openai_base_url,
            "OBM_DATA_DIR": str(self.installation.data),
        }
        return CliRunner().invoke(application, list(arguments), env=known | environment)

    def create(
        self, wire_ids: Sequence[str], *, installation: str | None = None, number: int = 7
    ) -> ProviderBatch:
        """Create a batch past the ledger, with a stamp if an installation is named."""
        path = self.folder / "input.jsonl"
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "lost"}]}
        path.write_text(
            "".join(
                json.dumps(
                    {"custom_id": wire_id, "method": "POST", "url": "/v1/chat/completions",
                     "body": body | {"user": wire_id}}
                ) + "\n"
                for wire_id in wire_ids
            )
        )  # fmt: skip
        filename = input_file_name(installation, number) if installation else "input.jsonl"
        file = self.provider.upload(path, filename=filename)
        stamp = Stamp(installation=installation or "", batch_id=number, attempt=1)
        return self.provider.create(
            input_file_id=file.id, endpoint="/v1/chat/completions",
            metadata=stamp.as_metadata() if installation else {},
        )  # fmt: skip

    def one_pass(self, *flows: str) -> None:
        """Run these flows once."""
        resources = Resources(self.installation.settings, close_at_once=True)
        with using(resources), closing(resources):
            for name in flows:
                plain_flows()[name]()

    def value(self, sql: str, *parameters: object) -> Any:
        """Return the first value of a query of the ledger."""
        with self.ledger.transaction() as reader:
            return reader.value(sql, *parameters)


@contextmanager
def _without_foreign_settings() -> Iterator[None]:
    names = [name for name in os.environ if name.startswith(("OBM_", "OPENAI_"))]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


@pytest.fixture
def sweeping(
    installation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sweeping]:
    monkeypatch.chdir(tmp_path)
    DataDirectory(installation.data).create()
    provider = OpenAIBatches(installation.settings)
    installation.simulator.set_scenarios("stuck:phase=in_progress")
    with _without_foreign_settings(), closing(provider):
        yield Sweeping(installation, provider, tmp_path)


def test_what_nobody_here_knows_is_listed_with_its_owner_and_left_alone(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("known")])
    sweeping.one_pass("ingest", "submit")
    ours = sweeping.create([f"{sweeping.name}-1-0"], installation=sweeping.name)
    theirs = sweeping.create(["beef0000-1-0"], installation="beef0000")
    foreign = sweeping.create(["a", "b"])

    said = sweeping.obm("sweep", "--json")

    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    owners = {batch["id"]: batch["owner"] for batch in found["batches"]}
    assert owners == {
        ours.id: "ours, lost", theirs.id: "another installation's", foreign.id: "foreign",
    }  # fmt: skip
    files = {file["id"]: (file["owner"], file["batch"]) for file in found["files"]}
    assert files == {
        ours.input_file_id: ("ours, lost", ours.id),
        theirs.input_file_id: ("another installation's", theirs.id),
        foreign.input_file_id: ("foreign", None),
    }
    assert all(file["bytes"] > 0 and file["age_seconds"] >= 0 for file in found["files"])
    assert found["looked_through"] == {"batches": 4, "files": 4}
    text = sweeping.obm("sweep").stdout
    assert all(batch.id in text for batch in (ours, theirs, foreign))
    statuses = {batch.id: batch.status for batch in sweeping.provider.list_batches()}
    assert "cancelling" not in statuses.values()
    assert len(statuses) == 4


def test_a_lost_batch_of_ours_is_adopted_and_its_results_delivered(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one"), chat("two")])
    sweeping.one_pass("ingest")
    lost = sweeping.create(
        [f"{sweeping.name}-1-0", f"{sweeping.name}-1-1"], installation=sweeping.name
    )
    created = sweeping.installation.simulator.counters()["batches_created"]

    said = sweeping.obm("sweep", "--adopt", lost.id, "--yes", "--reason", "found it")

    assert said.exit_code == 0, said.output
    assert "batch 7 here: 2 requests" in said.stdout
    assert sweeping.installation.states == {"batched": 2}
    reason = sweeping.value("SELECT reason FROM transitions WHERE entity_id = '7'")
    assert reason == f"found it: {lost.id}"
    sweeping.installation.simulator.release()
    assert sweeping.installation.run() == 0
    assert len(sweeping.installation.results("job")) == 2
    assert sweeping.installation.simulator.counters()["batches_created"] == created
    again = sweeping.obm("sweep", "--adopt", lost.id, "--yes")
    assert (again.exit_code, "is known here already" in again.stderr) == (2, True)


def test_a_batch_that_was_given_up_as_lost_and_found_again_answers_its_requests(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one")])
    sweeping.one_pass("ingest")
    with sweeping.ledger.transaction() as transaction:
        transaction.execute("UPDATE requests SET state = 'failed', error_code = 'obm_batch_lost'")
    sweeping.one_pass("deliver")
    lost = sweeping.create([f"{sweeping.name}-1-0"], installation=sweeping.name)
    assert sweeping.obm("sweep", "--adopt", lost.id, "--yes").exit_code == 0
    sweeping.installation.simulator.release()
    assert sweeping.installation.run() == 0
    assert sweeping.installation.states == {"succeeded": 1}


def test_what_cannot_be_adopted_is_explained(sweeping: Sweeping, chat: Chat) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one")])
    sweeping.one_pass("ingest")
    unreadable = sweeping.create(["nobody", "knows"])
    unknown = sweeping.create([f"{sweeping.name}-99-0"], installation=sweeping.name)
    theirs = sweeping.create(["beef0000-1-0"], installation="beef0000")
    for batch, why in (
        (unreadable, "none of its lines has a wire id of this installation"),
        (unknown, "1 are not known here"),
        (theirs, "made by another installation"),
    ):
        said = sweeping.obm("sweep", "--adopt", batch.id, "--yes")
        assert (said.exit_code, why in said.stderr) == (2, True), said.stderr
    assert sweeping.installation.states == {"pending": 1}


def test_a_lost_batch_is_cancelled_on_request_and_that_is_audited(sweeping: Sweeping) -> None:
    lost = sweeping.create([f"{sweeping.name}-1-0"], installation=sweeping.name)
    unsure = sweeping.obm("sweep", "--cancel", lost.id)
    assert (unsure.exit_code, "Say so with --yes" in unsure.stderr) == (2, True)
    assert sweeping.provider.retrieve(lost.id).status != "cancelling"

    said = sweeping.obm("sweep", "--cancel", lost.id, "--yes", "--reason", "not wanted")

    assert said.exit_code == 0, said.output
    assert sweeping.provider.retrieve(lost.id).status in {"cancelling", "cancelled"}
    with sweeping.ledger.transaction() as reader:
        row = reader.row("SELECT * FROM transitions WHERE entity_id = ?", lost.id)
    assert row is not None
    assert (row["target"], row["reason"]) == ("cancel_requested", "not wanted")
    assert row["actor"].startswith("cli")


def test_a_live_batch_of_this_installation_and_its_file_are_never_touched(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one")])
    sweeping.one_pass("ingest", "submit")
    provider_id = sweeping.value("SELECT provider_id FROM batches")
    input_file_id = sweeping.value("SELECT input_file_id FROM batches")

    cancelled = sweeping.obm("sweep", "--cancel", provider_id, "--yes")
    deleted = sweeping.obm("sweep", "--delete", input_file_id, "--yes")

    assert (cancelled.exit_code, "`obm cancel JOB`" in cancelled.stderr) == (2, True)
    assert (deleted.exit_code, "which is under way: it stays" in deleted.stderr) == (2, True)
    assert sweeping.provider.retrieve(provider_id).status != "cancelling"
    assert sweeping.provider.file(input_file_id).id == input_file_id


def test_a_file_is_deleted_on_request_unless_a_running_batch_needs_it(sweeping: Sweeping) -> None:
    running = sweeping.create(["a"])
    kept = sweeping.obm("sweep", "--delete", running.input_file_id or "", "--yes")
    assert (kept.exit_code, f"belongs to batch {running.id}" in kept.stderr) == (2, True)
    orphan = sweeping.provider.upload(sweeping.folder / "input.jsonl", filename="orphan.jsonl")
    said = sweeping.obm("sweep", "--delete", orphan.id, "--yes")
    assert said.exit_code == 0, said.output
    assert orphan.id not in {file.id for file in sweeping.provider.list_files("batch")}
    assert sweeping.value("SELECT target FROM transitions WHERE entity_id = ?", orphan.id)
    gone = sweeping.obm("sweep", "--delete", orphan.id, "--yes")
    assert (gone.exit_code, "there is no file" in gone.stderr) == (2, True)


def test_a_create_of_ours_that_is_being_looked_for_is_not_cancelled(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one")])
    sweeping.one_pass("ingest", "submit")
    provider_id = sweeping.value("SELECT provider_id FROM batches")
    with sweeping.ledger.transaction() as transaction:
        transaction.execute("UPDATE batches SET state = 'submitting', provider_id = NULL")
        transaction.execute("DELETE FROM creates")
    said = sweeping.obm("sweep", "--cancel", provider_id, "--yes")
    assert (said.exit_code, "it is adopted by itself" in said.stderr) == (2, True)
    sweeping.one_pass("submit")
    assert sweeping.value("SELECT provider_id FROM batches") == provider_id


def test_a_wrong_key_is_said_in_one_sentence(sweeping: Sweeping) -> None:
    sweeping.installation.simulator.set_scenarios("failing_calls:call=batches.list,status=401")
    said = sweeping.obm("sweep")
    assert said.exit_code == 2
    assert "key" in said.stderr
    assert "Traceback" not in said.output


def test_two_actions_at_a_time_are_refused(sweeping: Sweeping) -> None:
    said = sweeping.obm("sweep", "--adopt", "batch_1", "--delete", "file-1")
    assert (said.exit_code, "at a time" in said.stderr) == (2, True)


def test_a_live_batch_that_nobody_can_read_keeps_submission_locked_until_an_operator_ends_it(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one")])
    sweeping.one_pass("ingest")
    lost = sweeping.create(["no wire id"], installation=sweeping.name)
    with sweeping.ledger.transaction() as transaction:
        lock_submission(transaction, reason="the ledger was restored", actor="test")

    swept = json.loads(sweeping.obm("sweep", "--json").stdout)

    assert lost.id in swept["submission_lock"]["still_locked"]
    sweeping.one_pass("submit")
    assert sweeping.installation.states == {"pending": 1}
    status = json.loads(sweeping.obm("status", "--json").stdout)
    assert lost.id in status["submission_lock"]
    assert "Submission is locked" in sweeping.obm("status").stdout
    said = sweeping.obm("sweep", "--unlock", "--yes", "--reason", "I know")
    assert said.exit_code == 0, said.output
    with sweeping.ledger.transaction() as reader:
        assert submission_lock(reader) is None
    sweeping.one_pass("submit")
    assert sweeping.installation.states == {"batched": 1}
    assert sweeping.value("SELECT max(batch_id) FROM batches") == 8


def test_a_sweep_of_a_restored_ledger_takes_our_batches_up_and_ends_the_lock(
    sweeping: Sweeping, chat: Chat
) -> None:
    sweeping.installation.drop("job.jsonl", [chat("one")])
    sweeping.one_pass("ingest")
    sweeping.create([f"{sweeping.name}-1-0"], installation=sweeping.name)
    with sweeping.ledger.transaction() as transaction:
        lock_submission(transaction, reason="the ledger was restored", actor="test")
    said = sweeping.obm("sweep")
    assert "1 batches of ours were taken up again" in said.stdout
    assert "Requests are sent again" in said.stdout
    assert sweeping.installation.states == {"batched": 1}
    assert "knows them all" in said.stdout
