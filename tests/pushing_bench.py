"""What tests of pushing work with: a store whose requests name destinations, and a receiver."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import factories
import pytest
from factories import Store, chat_line, success_line
from web_receiver import WebReceiver

from batching.destinations import Reach
from batching.requests import ReadingRules
from batching.settings import Settings
from tasks.pushing import push_results
from tasks.resources import Resources, using


@pytest.fixture(scope="module")
def running_receiver() -> Iterator[WebReceiver]:
    with WebReceiver() as found:
        yield found


@pytest.fixture
def receiver(running_receiver: WebReceiver) -> WebReceiver:
    running_receiver.reset()
    return running_receiver


@pytest.fixture
def resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Resources]:
    reach = Reach(names=frozenset({"crm"}), has_broker=True)
    monkeypatch.setattr(factories, "RULES", ReadingRules(reach=reach))
    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", webhook_allow_private="127.0.0.0/8"
    )
    found = Resources(settings)
    found.directory.create()
    with using(found):
        yield found
    found.close()


@pytest.fixture
def store(resources: Resources) -> Store:
    return Store(resources.directory, resources.ledger)


def answered(store: Store, configs: Sequence[dict[str, Any]], *, prefix: str = "id") -> None:
    """Take in a request for each destination, and have the provider answer all of them."""
    lines = []
    for number, config in enumerate(configs):
        line = json.loads(chat_line(f"{prefix}-{number}"))
        lines.append(json.dumps(line | {"delivery_config": config}).encode())
    store.take_in(lines, name=prefix, source_id=prefix)
    batch = store.ended()
    store.collect(batch, [success_line(wire) for wire in store.wire_ids(batch)])


def webhook(receiver: WebReceiver, path: str = "/hook") -> dict[str, str]:
    return {"type": "webhook", "webhook_url": receiver.url(path)}


def define(resources: Resources, definition: str) -> dict[str, str]:
    """Define the named destination `crm`; return how requests name it."""
    (resources.directory.root / "destinations.toml").write_text(f"[crm]\n{definition}\n")
    return {"type": "named", "name": "crm"}


def states(store: Store) -> dict[str, int]:
    rows = store.rows("SELECT state, count(*) AS n FROM deliveries GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


def push() -> int:
    return sum(push_results().values())


def pass_time(store: Store) -> None:
    """Let every pause be over."""
    store.run("UPDATE deliveries SET next_attempt_at = NULL WHERE state = 'pending'")
    store.run(
        "UPDATE targets SET open_until = now()::TIMESTAMP - INTERVAL 1 SECOND "
        "WHERE open_until IS NOT NULL"
    )
