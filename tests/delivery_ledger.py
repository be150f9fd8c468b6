"""A ledger with deliveries in every state, to two targets, for tests of what operators see."""

import shutil
from pathlib import Path

from factories import Store, chat_lines

from batching.jobs import JobSettings
from storage.directory import DataDirectory
from storage.ledger import Ledger

CRM = "webhook:https://crm.example:443"
SHOP = "webhook:https://shop.example:443"
_STATES = (
    (CRM, "delivered", "success", None), (CRM, "pending", None, None),
    (CRM, "exhausted", "timeout", "no answer within 30 s"),
    (CRM, "exhausted", "timeout", "no answer within 30 s"),
    (CRM, "exhausted", "connection_error", None),
    (CRM, "cancelled", "timeout", "no answer within 30 s"),
    (SHOP, "delivered", "success", None), (SHOP, "exhausted", "gone", "it answered 410: <gone>"),
)  # fmt: skip


def store_with_deliveries(root: Path) -> Store:
    """Return a store whose deliveries 1 to 6 go to CRM, 7 and 8 to SHOP; SHOP is disabled."""
    store = Store.at(root)
    for number, (target, count) in enumerate(((CRM, 6), (SHOP, 2)), start=1):
        name = target.split("/")[2].split(".")[0]
        hook = JobSettings.model_validate(
            {"delivery_config": {"type": "webhook", "webhook_url": f"https://{name}.example/in"}}
        )
        store.take_in(
            chat_lines(count, prefix=name), name=name, source_id=f"s{number}", settings=hook
        )
        store.answer_all(store.ended())
    store.run(
        "UPDATE destinations SET disabled_at = now()::TIMESTAMP, disabled_because = 'it is gone' "
        "WHERE target = ?",
        SHOP,
    )
    for delivery_id, (_, state, outcome, problem) in enumerate(_STATES, start=1):
        _bring(store, delivery_id, state, outcome, problem)
    return store


def copy_of(folder: Path, to: Path) -> Store:
    """Return a store of a test's own, copied from one that is made once: that is quicker."""
    directory = DataDirectory(shutil.copytree(folder, to))
    return Store(directory, Ledger(directory))


def state_of(store: Store, delivery_id: int) -> str:
    """Return the state of a delivery."""
    return str(store.value("SELECT state FROM deliveries WHERE delivery_id = ?", delivery_id))


def last_move(store: Store) -> tuple[str, str, str]:
    """Return object, what happened to it and who did it, of the last line of the trail."""
    (row,) = store.rows(
        "SELECT entity_id, target, actor FROM transitions WHERE actor <> 'pipeline' "
        "ORDER BY happened_at DESC, rowid DESC LIMIT 1"
    )
    return row["entity_id"], row["target"], row["actor"]


def _bring(
    store: Store, delivery_id: int, state: str, outcome: str | None, problem: str | None
) -> None:
    ended = "now()::TIMESTAMP" if state != "pending" else "NULL"
    store.run(
        f"UPDATE deliveries SET state = ?, outcome = ?, problem = ?, finished_at = {ended}, "
        "attempts = ? WHERE delivery_id = ?",
        state, outcome, problem, 0 if outcome is None else 1, delivery_id,
    )  # fmt: skip
    if outcome is not None:
        store.run(
            "INSERT INTO attempts VALUES (?, 1, now()::TIMESTAMP, ?, ?, 250, ?)",
            delivery_id, outcome, {"success": 200, "gone": 410}.get(outcome), problem,
        )  # fmt: skip
