import threading
from collections.abc import Sequence

import numpy as np
import pytest
from factories import Store, chat_line, chat_lines, read_lines

from batching.jobs import JobSettings
from batching.requests import ReadingRules
from storage.directory import DataDirectory
from storage.hash_shards import RECORDED, STAGED, HashShards, as_hashes
from storage.intake_log import IntakeLog
from storage.known_ids import Known, KnownIds
from storage.ledger import now
from storage.log_files import logs_in
from storage.log_intake import take_in_logs
from storage.log_recording import record_logs
from storage.received_lines import received_line
from storage.sources import next_segment


def open_log(store: Store, role: str = "web") -> IntakeLog:
    return IntakeLog(store.directory, role=role, seal_seconds=5, seal_bytes=1_000_000)


def receive(
    store: Store, lines: Sequence[bytes], *, job: str = "default", role: str = "web"
) -> None:
    log = open_log(store, role)
    log.write([received_line(job, now(), line) for line in lines])
    log.close()


def ingest(store: Store) -> None:
    logs = logs_in(store.directory.inbox)
    taken = take_in_logs(
        store.directory,
        logs,
        rules=ReadingRules(),
        first_segment=next_segment(store.ledger, store.directory.segments),
    )
    record_logs(store.ledger, taken, account=store.account)
    for log in logs:
        log.path.unlink()


def asked(ids: KnownIds, line: bytes, *, job: str = "default") -> Known:
    [request] = read_lines([line])
    return ids.look_up(job, request.id_hash, request.payload_hash)


def is_staged(ids: KnownIds, custom_id: str, *, job: str = "default") -> bool:
    [request] = read_lines([chat_line(custom_id)])
    return ids.is_staged(job, request.id_hash)


def loaded(store: Store) -> KnownIds:
    ids = KnownIds(store.directory)
    ids.load()
    return ids


def test_an_empty_installation_knows_no_id(store: Store) -> None:
    ids = loaded(store)

    assert asked(ids, chat_line("a")) is Known.NEW
    assert not is_staged(ids, "a")
    assert len(ids) == 0


def test_a_folder_without_a_ledger_knows_what_its_logs_hold(store: Store) -> None:
    store.directory.ledger.unlink()
    receive(store, [chat_line("a")])

    assert asked(loaded(store), chat_line("a")) is Known.SAME


def test_an_id_is_new_once_then_the_same_or_another(store: Store) -> None:
    ids = loaded(store)
    [request] = read_lines([chat_line("a")])
    ids.add("default", request.id_hash, request.payload_hash)

    assert asked(ids, chat_line("a")) is Known.SAME
    assert asked(ids, chat_line("a", text="another")) is Known.OTHER
    assert asked(ids, chat_line("a"), job="other") is Known.NEW
    assert is_staged(ids, "a")
    assert not is_staged(ids, "a", job="other")


def test_what_waits_in_logs_is_known_and_staged_until_the_ledger_has_it(store: Store) -> None:
    receive(store, [chat_line("a")])
    ids = loaded(store)
    assert asked(ids, chat_line("a")) is Known.SAME
    assert is_staged(ids, "a")

    ingest(store)
    ids.refresh()

    assert asked(ids, chat_line("a")) is Known.SAME
    assert asked(ids, chat_line("a", text="another")) is Known.OTHER
    assert not is_staged(ids, "a")
    assert len(ids) == 1


def test_what_was_added_stops_being_staged_when_it_is_in_the_ledger(store: Store) -> None:
    ids = loaded(store)
    log = open_log(store)
    for line in chat_lines(3):
        [request] = read_lines([line])
        log.write([received_line("default", now(), line)])
        ids.add("default", request.id_hash, request.payload_hash)
    log.close()
    assert is_staged(ids, "id-0")

    ingest(store)
    ids.refresh()

    assert not any(is_staged(ids, f"id-{number}") for number in range(3))
    assert len(ids) == 3


def test_another_door_is_heard_of_when_its_log_is_handed_over(store: Store) -> None:
    ids = loaded(store)
    log = open_log(store, "consumer")
    log.write([received_line("default", now(), chat_line("a"))])
    ids.refresh()
    assert asked(ids, chat_line("a")) is Known.NEW  # it could still be cut back

    log.close()
    ids.refresh()
    assert asked(ids, chat_line("a")) is Known.SAME


def test_own_logs_are_read_at_the_start_only(store: Store) -> None:
    receive(store, [chat_line("before")])
    ids = KnownIds(store.directory, own_role="web")
    ids.load()
    receive(store, [chat_line("after")])
    ids.refresh()

    assert asked(ids, chat_line("before")) is Known.SAME
    assert asked(ids, chat_line("after")) is Known.NEW


def test_every_payload_of_an_id_is_a_repeat(store: Store) -> None:
    receive(store, [chat_line("a", text="one"), chat_line("a", text="two")])
    ingest(store)
    ids = loaded(store)

    assert store.states() == {"failed": 1, "pending": 1}
    assert asked(ids, chat_line("a", text="one")) is Known.SAME
    assert asked(ids, chat_line("a", text="two")) is Known.SAME
    assert asked(ids, chat_line("a", text="three")) is Known.OTHER


def test_ids_of_a_label_are_known_wherever_they_came_from(store: Store) -> None:
    store.take_in([chat_line("a")], name="drop", settings=JobSettings(label="nightly"))
    receive(store, [chat_line("b")], job="nightly")
    ingest(store)
    ids = loaded(store)

    assert asked(ids, chat_line("a"), job="nightly") is Known.SAME
    assert asked(ids, chat_line("b"), job="nightly") is Known.SAME


def test_files_without_a_label_take_no_room(store: Store) -> None:
    store.take_in(chat_lines(5), name="drop")

    assert len(loaded(store)) == 0


def test_a_file_labelled_default_is_not_the_job_of_the_doors(store: Store) -> None:
    store.take_in([chat_line("a")], name="drop", settings=JobSettings(label="default"))
    receive(store, [chat_line("a", text="of the door")])
    ingest(store)

    assert store.states() == {"pending": 2}
    assert asked(loaded(store), chat_line("a")) is Known.OTHER


def test_a_forgotten_request_is_new_again_and_the_others_stay_known(store: Store) -> None:
    receive(store, chat_lines(3))
    ingest(store)
    ids = loaded(store)
    receive(store, [chat_line("staged")])
    store.run("DELETE FROM requests WHERE custom_id = 'id-1'")

    ids.refresh()

    assert [asked(ids, line) for line in chat_lines(3)] == [Known.SAME, Known.NEW, Known.SAME]
    assert asked(ids, chat_line("staged")) is Known.SAME


def test_an_unchanged_ledger_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = loaded(store)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the ledger was read")

    monkeypatch.setattr("storage.known_ids.snapshot", refuse)
    ids.refresh()


def test_ids_stay_known_while_they_are_merged(store: Store) -> None:
    ids = loaded(store)
    stop = threading.Event()

    def refresh() -> None:
        while not stop.is_set():
            ids._merge_recent()

    merging = threading.Thread(target=refresh)
    merging.start()
    try:
        for number in range(3_000):
            ids.add("default", number, 7)
            assert ids.look_up("default", number, 7) is Known.SAME
    finally:
        stop.set()
        merging.join()

    assert all(ids.look_up("default", number, 7) is Known.SAME for number in range(3_000))
    assert all(ids.look_up("default", number, 8) is Known.OTHER for number in range(3_000))


def test_the_index_agrees_with_a_plain_dictionary() -> None:
    random = np.random.default_rng(7)
    shards, expected = HashShards(), dict[int, dict[int, int]]()
    for flag in (STAGED, RECORDED, STAGED):
        keys = random.choice(
            np.concatenate((random.integers(0, 2**64, 400, np.uint64), as_hashes(range(50)))), 900
        )
        payloads = random.integers(0, 3, 900, np.uint64)
        shards.merge(keys, payloads, flag)
        for key, payload in zip(keys.tolist(), payloads.tolist(), strict=True):
            flags = expected.setdefault(key, {})
            flags[payload] = min(flags.get(payload, flag), flag)

    assert len(shards) == sum(map(len, expected.values()))
    for key, flags in expected.items():
        found = dict(zip(shards.payloads_of(key), shards.flags_of(key), strict=True))
        assert found == flags
    assert shards.payloads_of(2**64 - 1) == []
    assert shards.bytes == 17 * len(shards)


def test_a_folder_that_is_not_there_yet_holds_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ids = KnownIds(DataDirectory(tmp_path_factory.mktemp("none") / "data"))
    ids.load()

    assert len(ids) == 0
