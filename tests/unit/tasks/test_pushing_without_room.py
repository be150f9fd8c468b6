"""Pushing from a disk that is nearly full: what cannot be recorded would be sent for ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from consumers import filled_disk
from factories import Store
from pushing_bench import answered, push, receiver, running_receiver, states, webhook
from small_disks import small_disk_of
from web_receiver import WebReceiver

from batching.errors import DiskFull
from batching.settings import Settings
from tasks.resources import Resources, using

__all__ = ["receiver", "running_receiver"]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    yield from small_disk_of(96)


@pytest.fixture
def store(small_disk: Path) -> Iterator[Store]:
    settings = Settings(
        _env_file=None, data_dir=small_disk / "data", webhook_allow_private="127.0.0.0/8"
    )
    resources = Resources(settings)
    with using(resources):
        yield Store(resources.directory, resources.ledger)
    resources.close()


@pytest.mark.parametrize("free_bytes", [0, 100_000])
def test_nothing_is_sent_that_could_not_be_recorded(
    store: Store, small_disk: Path, receiver: WebReceiver, free_bytes: int
) -> None:
    answered(store, [webhook(receiver)] * 500)
    with filled_disk(small_disk, free_bytes=free_bytes):
        for _ in range(2):
            with pytest.raises(DiskFull, match="free some space"):
                push()
    assert receiver.count == 0
    assert push() == 500
    assert receiver.count == 500
    assert states(store) == {"delivered": 500}
