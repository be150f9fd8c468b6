"""What operators do to intake."""

from dashboards.performing import Deed, Outcome
from storage.directory import DataDirectory
from storage.intake_gate import pause_intake, resume_intake
from storage.ledger import Ledger


def pause(directory: DataDirectory, reason: str | None) -> Deed:
    """Return the deed of letting no more requests in."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        del ledger
        is_new = pause_intake(directory, actor=actor, reason=reason or None)
        return Outcome(text="Intake is paused." if is_new else "Intake was paused already.")

    return deed


def resume(directory: DataDirectory) -> Deed:
    """Return the deed of letting requests in again."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        del ledger, actor
        was_paused = resume_intake(directory)
        return Outcome(text="Intake goes on." if was_paused else "Intake was not paused.")

    return deed
