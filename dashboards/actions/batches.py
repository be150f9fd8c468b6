"""What operators do to batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dashboards.actions.telling import told
from dashboards.performing import Deed, Outcome
from dashboards.wording import count_of
from storage.action_outcomes import ActionOutcome
from storage.batch_actions import flush_lane, flush_lane_of
from storage.bulk_batches import (
    cancel_batches,
    forget_batches,
    redeliver_failed_of_batches,
    restart_batches,
)
from storage.ledger import Ledger


def cancel(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of cancelling batches; requests that have run already keep their results."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = cancel_batches(ledger, batch_ids, actor=actor)
        return told(found, [f"Cancel of {_named(found, batch_ids)} requested{_requests(found)}."])

    return deed


def restart(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of sending again what failed with the batches."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = restart_batches(ledger, batch_ids, actor=actor)
        return told(found, [f"Restart of {_named(found, batch_ids)}{_requests(found)}."])

    return deed


def forget(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of deleting the files of ended batches, not their results."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = forget_batches(ledger, batch_ids, actor=actor)
        return told(found, [f"Files of {_named(found, batch_ids)} deleted."])

    return deed


def redeliver_failed(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of bringing the dead letters of batches again."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = redeliver_failed_of_batches(ledger, batch_ids, actor=actor)
        return told(found, [f"{count_of(found.changed, 'result')} on the way again."])

    return deed


def send_lane_of(batch_id: int) -> Deed:
    """Return the deed of sending what waits in the lane of a batch without filling up."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        found = flush_lane_of(ledger, batch_id, actor=actor)
        if found is None or found.refusal:
            return Outcome(text="Nothing waits in its lane any more.", tone="info")
        return _sent(found.requests)

    return deed


def send_lane(lane_id: int) -> Deed:
    """Return the deed of sending what waits in a lane without filling up."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        waiting = flush_lane(ledger, lane_id, actor=actor)
        if not waiting:
            return Outcome(text="Nothing waits there any more.", tone="info")
        return _sent(waiting)

    return deed


BY_NAME: Final[Mapping[str, Callable[[Sequence[int]], Deed]]] = {
    "cancel": cancel,
    "restart": restart,
    "redeliver": redeliver_failed,
    "forget": forget,
}
"""What the buttons of batches do, by their `data-act`."""


def _sent(waiting: int) -> Outcome:
    verb = "goes" if waiting == 1 else "go"
    return Outcome(text=f"{count_of(waiting, 'request')} {verb} with the next batch, at once.")


def _named(found: ActionOutcome, batch_ids: Sequence[int]) -> str:
    if len(batch_ids) == 1:
        return f"batch {batch_ids[0]}"
    return count_of(found.changed, "batch", "batches")


def _requests(found: ActionOutcome) -> str:
    return f" ({count_of(found.requests, 'request')})" if found.requests else ""
