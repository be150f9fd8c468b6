"""What operators do to intake."""

from dashboards.performing import Deed, Outcome
from storage.ledger import Ledger
from storage.switches import hold_intake


def pause(reason: str | None = None) -> Deed:
    """Return the deed of letting no more requests in."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        if not hold_intake(ledger, paused=True, actor=actor, reason=reason or None):
            return Outcome(text="Intake was paused already.", tone="info")
        return Outcome(text="Intake is paused: new requests are refused.")

    return deed


def resume() -> Deed:
    """Return the deed of letting requests in again."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        if not hold_intake(ledger, paused=False, actor=actor):
            return Outcome(text="Intake was not paused.", tone="info")
        return Outcome(text="Intake goes on.")

    return deed
