"""A disk that turns read-only, a process without file handles: said, and nothing bought twice."""

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import plain_flows
from small_disks import read_only, small_disk_of

from clients.openai_batches import OpenAIBatches
from storage.directory import DataDirectory
from storage.doctor.diagnosis import examine
from tasks.resources import Resources, using

Chat = Callable[..., dict[str, Any]]
Fault = Callable[[Path], AbstractContextManager[None]]
STEPS = ("ingest", "submit", "track", "deliver")
LINES = 20


@pytest.fixture
def small_disk() -> Iterator[Path]:
    yield from small_disk_of(48)


@pytest.fixture
def on_small_disk(installation: Any, small_disk: Path) -> Any:
    """Return the installation with its data on a disk of its own."""
    data = small_disk / "data"
    changes = {"data_dir": data, "batch_max_requests": LINES // 2}
    settings = installation.settings.model_copy(update=changes)
    return replace(installation, data=data, settings=settings)


@contextmanager
def out_of_handles(_disk: Path) -> Iterator[None]:
    """Let this process open no further file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


WORDS = {read_only: "ead-only", out_of_handles: "oo many open files"}


def words_of(error: BaseException) -> str:
    told = []
    found: BaseException | None = error
    while found is not None:
        told.append(str(found))
        found = found.__cause__ or found.__context__
    return " ".join(told)


def assert_nothing_lost(installation: Any, before: dict[str, Any]) -> None:
    assert installation.run() == 0
    wanted = Counter(f"{installation.data} {number}" for number in range(LINES))
    assert Counter(line["custom_id"] for line in installation.results("job")) == wanted
    after = installation.simulator.counters()
    assert after["batches_created"] - before["batches_created"] == 2
    assert after["lines_paid_more_than_once"] == before["lines_paid_more_than_once"]
    report = examine(DataDirectory(installation.data), patience_seconds=0.0)
    assert [each for each in report.findings if each.code != "orphan_temporary"] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [read_only, out_of_handles])
def test_a_step_that_cannot_write_says_why_and_is_done_again(
    step: str, fault: Fault, on_small_disk: Any, small_disk: Path, chat: Chat
) -> None:
    before = on_small_disk.simulator.counters()
    requests = [chat(f"{on_small_disk.data} {number}") for number in range(LINES)]
    on_small_disk.drop("job.jsonl", requests)
    resources = Resources(on_small_disk.settings, close_at_once=True)
    flows = plain_flows()
    with using(resources), closing(resources):
        for earlier in STEPS[: STEPS.index(step)]:
            flows[earlier]()
        with fault(small_disk), pytest.raises(Exception) as caught:  # noqa: PT011 - its words count
            flows[step]()
    assert WORDS[fault] in words_of(caught.value)
    assert_nothing_lost(on_small_disk, before)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [read_only, out_of_handles])
def test_a_batch_whose_creation_cannot_be_recorded_is_found_again(
    fault: Fault, on_small_disk: Any, small_disk: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = on_small_disk.simulator.counters()
    requests = [chat(f"{on_small_disk.data} {number}") for number in range(LINES)]
    on_small_disk.drop("job.jsonl", requests)
    create, broken = OpenAIBatches.create, []

    def create_and_break(self: OpenAIBatches, **wish: Any) -> Any:
        created = create(self, **wish)
        broken.append(fault(small_disk))
        broken[-1].__enter__()
        return created

    resources = Resources(on_small_disk.settings, close_at_once=True)
    with using(resources), closing(resources), monkeypatch.context() as patched:
        plain_flows()["ingest"]()
        patched.setattr(OpenAIBatches, "create", create_and_break)
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, it must not be lost
            plain_flows()["submit"]()
        broken[0].__exit__(None, None, None)
    assert len(broken) == 1
    assert_nothing_lost(on_small_disk, before)
