"""What operators do to batches."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from dashboards.performing import Deed, Outcome
from dashboards.wording import count_of
from storage.batch_actions import (
    BatchAction,
    cancel_batch,
    flush_lane,
    flush_lane_of,
    forget_batch,
    restart_batch,
)
from storage.ledger import Ledger
from storage.redelivery import Selection, redeliver

if TYPE_CHECKING:
    from dashboards.theme import Tone

_Verb = Callable[..., BatchAction | None]


def cancel(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of cancelling batches; requests that have run already keep their results."""
    return _each(batch_ids, cancel_batch, "Cancel of {} requested")


def restart(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of sending again what failed with the batches."""
    return _each(batch_ids, restart_batch, "{} restarted")


def forget(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of deleting the files of ended batches, not their results."""
    return _each(batch_ids, forget_batch, "Files of {} deleted")


def send_lane_of(batch_id: int) -> Deed:
    """Return the deed of sending what waits in the lane of a batch without filling up."""
    return _each([batch_id], flush_lane_of, "What waits in the lane of {} goes now")


def send_lane(lane_id: int) -> Deed:
    """Return the deed of sending what waits in a lane without filling up."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        waiting = flush_lane(ledger, lane_id, actor=actor)
        if not waiting:
            return Outcome(text="Nothing waits there any more.", tone="info")
        return Outcome(text=f"{count_of(waiting, 'request')} go with the next batch, at once.")

    return deed


def redeliver_failed(batch_ids: Sequence[int]) -> Deed:
    """Return the deed of bringing the dead letters of batches again."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        counts = [
            redeliver(ledger, Selection(batch=batch_id), failed_only=True, actor=actor)
            for batch_id in batch_ids
        ]
        if not sum(counts):
            return Outcome(text="Nothing to redeliver: no delivery is exhausted.", tone="info")
        return Outcome(text=f"{count_of(sum(counts), 'result')} on the way again.")

    return deed


BY_NAME: Final[Mapping[str, Callable[[Sequence[int]], Deed]]] = {
    "cancel": cancel,
    "restart": restart,
    "redeliver": redeliver_failed,
    "forget": forget,
}
"""What the buttons of batches do, by their `data-act`."""


def _each(batch_ids: Sequence[int], verb: _Verb, done: str) -> Deed:
    def deed(ledger: Ledger, actor: str) -> Outcome:
        return _told([verb(ledger, number, actor=actor) for number in batch_ids], batch_ids, done)

    return deed


def _told(actions: Iterable[BatchAction | None], batch_ids: Sequence[int], done: str) -> Outcome:
    found = list(actions)
    refusals = [
        "it is not there any more" if action is None else action.refusal
        for action in found
        if action is None or action.refusal
    ]
    count = len(found) - len(refusals)
    what = f"batch {batch_ids[0]}" if len(batch_ids) == 1 else count_of(count, "batch", "batches")
    sentences = []
    if count:
        requests = sum(action.requests for action in found if action)
        of_them = f" ({count_of(requests, 'request')})" if requests else ""
        said = done.format(what) + of_them
        sentences.append(f"{said[0].upper()}{said[1:]}.")
    sentences += _refused(refusals, len(found))
    tone: Tone = "success" if not refusals else "warning" if count else "error"
    return Outcome(text=" ".join(sentences), tone=tone)


def _refused(refusals: Sequence[str | None], asked: int) -> list[str]:
    if asked == 1:
        return [f"Not done: {reason}." for reason in refusals]
    return [f"{count} left alone: {reason}." for reason, count in Counter(refusals).items()]
