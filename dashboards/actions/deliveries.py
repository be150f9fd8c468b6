"""What operators do to deliveries and destinations."""

from collections.abc import Mapping, Sequence

from dashboards.performing import Deed, Outcome
from dashboards.wording import count_of
from storage.action_outcomes import ActionOutcome
from storage.holding import hold_targets
from storage.ledger import Ledger
from storage.redelivery import (
    Selection,
    discard_dead_letters,
    enable_destination,
    redeliver_selection,
)


def redeliver(selection: Selection) -> Deed:
    """Return the deed of bringing dead letters again; what has succeeded is never sent twice."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        done = redeliver_selection(ledger, selection, failed_only=True, actor=actor)
        return _told(done, "on the way again", "Nothing to redeliver")

    return deed


def discard(selection: Selection) -> Deed:
    """Return the deed of giving dead letters up for good."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        done = discard_dead_letters(ledger, selection, actor=actor)
        return _told(done, "discarded", "Nothing to discard")

    return deed


def hold(targets: Sequence[str] | None, *, paused: bool) -> Deed:
    """Return the deed of stopping or resuming delivery to targets; None means all of them."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        done = hold_targets(ledger, targets, paused=paused, actor=actor)
        if not done.changed:
            return Outcome(text=f"Nothing changed{_left(done.skipped)}.", tone="info")
        whose = targets[0] if targets and len(targets) == 1 else count_of(done.changed, "target")
        state = "is paused: what waits keeps waiting" if paused else "goes on"
        return Outcome(text=f"Delivery to {whose} {state}.")

    return deed


def enable(target: str) -> Deed:
    """Return the deed of letting a disabled or failing target be called again, now."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        count = enable_destination(ledger, target, actor=actor)
        if not count:
            return Outcome(text=f"{target} is tried again at once.")
        return Outcome(text=f"{target} is enabled again. Its dead letters stay until redelivered.")

    return deed


def _told(done: ActionOutcome, what: str, nothing: str) -> Outcome:
    if not done.changed:
        return Outcome(text=f"{nothing}{_left(done.skipped)}.", tone="info")
    return Outcome(text=f"{count_of(done.changed, 'result')} {what}{_left(done.skipped)}.")


def _left(skipped: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{count:,} {why}" for why, count in skipped.items())
    return f"; left alone: {reasons}" if reasons else ""
