"""A group that could not be stored is stored later, each part of it once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from consumers import Intake, line_of
from factories import RULES

from receivers.rabbitmq_connection import Pauses
from receivers.rabbitmq_storing import Delivery, Group, Storing
from storage.intake_log import IntakeLog
from storage.quarantine import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.directory import DataDirectory


class Channel:
    """Remembers what the broker would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def basic_ack(self, delivery_tag: int, *, multiple: bool) -> None:
        self.told.append(("ack up to" if multiple else "ack", delivery_tag))

    def basic_reject(self, delivery_tag: int, *, requeue: bool) -> None:
        self.told.append(("requeue" if requeue else "reject", delivery_tag))


def group_of(*bodies: bytes) -> Group:
    properties = SimpleNamespace(headers=None, message_id=None)
    deliveries = [
        Delivery(SimpleNamespace(delivery_tag=tag, exchange="", routing_key="q"), properties, body)
        for tag, body in enumerate(bodies, start=1)
    ]
    return Group(deliveries, queue="q", rules=RULES, largest_bytes=10_000)


@pytest.fixture
def storing(directory: DataDirectory) -> Iterator[Storing]:
    log = IntakeLog(directory, role="consumer", seal_seconds=3_600, seal_bytes=1_000_000)
    made = Storing(log, Quarantine(directory, source="rabbitmq"))
    yield made
    made.close()


@pytest.mark.parametrize("missing", ["receiving", "rejected"])
def test_what_was_stored_before_the_failure_is_not_stored_again(
    directory: DataDirectory, storing: Storing, missing: str
) -> None:
    group, folder = group_of(line_of("a"), b"[]", line_of("b")), getattr(directory, missing)
    away = folder.rename(folder.with_name("away"))
    assert not storing.store(group)
    assert not storing.store(group)
    assert str(folder) in str(storing.trouble)
    away.rename(folder)
    assert storing.store(group)
    assert storing.trouble is None
    intake = Intake(directory)
    assert intake.received_ids == ["a", "b"]
    assert [record["raw"] for record in intake.refused] == ["[]"]


def test_after_a_failure_there_is_a_pause(directory: DataDirectory, storing: Storing) -> None:
    assert storing.may_try
    away = directory.receiving.rename(directory.root / "away")
    storing.store(group_of(line_of("a")))
    assert not storing.may_try
    away.rename(directory.receiving)


def test_what_cannot_be_handed_over_does_not_stop_what_can_be_stored(
    directory: DataDirectory, storing: Storing, caplog: pytest.LogCaptureFixture
) -> None:
    storing._log._seal_seconds = 0
    away = directory.inbox.rename(directory.root / "away")
    assert storing.store(group_of(line_of("a")))
    for _ in range(3):
        storing.seal_if_due()
    assert str(directory.inbox) in str(storing.seal_trouble)
    assert storing.store(group_of(line_of("b")))
    assert storing.trouble is None
    away.rename(directory.inbox)
    storing.seal_if_due()
    assert storing.seal_trouble is None
    assert Intake(directory).received_ids == ["a", "b"]
    assert sum("handed over" in each.message for each in caplog.records) == 1


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([line_of("a"), line_of("b")], [("ack up to", 2)]),
        ([line_of("a"), b"[]"], [("reject", 2), ("ack up to", 1)]),
        ([b"[]", line_of("a"), b"{}"], [("reject", 1), ("reject", 3), ("ack up to", 2)]),
        ([b"[]", b"1"], [("reject", 1), ("reject", 2)]),
    ],
)  # fmt: skip
def test_an_acknowledgement_never_names_a_message_that_was_rejected(
    bodies: list[bytes], expected: list[tuple[str, int]]
) -> None:
    channel = Channel()
    group_of(*bodies).answer(channel)
    assert channel.told == expected


def test_pauses_grow_to_a_limit_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receivers.rabbitmq_connection.random.uniform", lambda *_: 1.0)
    pauses = Pauses()
    assert [pauses.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    pauses.reset()
    assert [pauses.next(), pauses.next(least_seconds=5), pauses.next()] == [0.5, 5, 10]


def test_pauses_are_never_longer_than_the_longest() -> None:
    pauses = Pauses(first_seconds=29)
    assert all(pauses.next() <= 30 for _ in range(50))
