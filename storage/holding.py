"""Holding back and letting go: lanes (submission), jobs and targets (delivery), some or all."""

from collections.abc import Sequence
from typing import Final

from storage.action_outcomes import ActionOutcome, outcome
from storage.ledger import Ledger, now

_ALREADY: Final = {True: "was held back already", False: "was not held back"}
_GONE: Final = "there is none of that name"


def hold_lanes(
    ledger: Ledger, lane_ids: Sequence[int] | None, *, paused: bool, actor: str
) -> ActionOutcome:
    """Pause or resume lanes; None means all of them, which is all submission."""
    return _hold(
        ledger, "lane", "SELECT lane_id AS id, paused FROM lanes",
        "UPDATE lanes SET paused = $1 WHERE list_contains($2, lane_id)",
        lane_ids, paused=paused, actor=actor,
    )  # fmt: skip


def hold_jobs(
    ledger: Ledger, names: Sequence[str] | None, *, paused: bool, actor: str
) -> ActionOutcome:
    """Hold back or release the pending requests of jobs; None means all of them."""
    return _hold(
        ledger, "job", "SELECT name AS id, paused FROM jobs",
        "UPDATE jobs SET paused = $1 WHERE list_contains($2, name)",
        names, paused=paused, actor=actor,
    )  # fmt: skip


def hold_targets(
    ledger: Ledger, targets: Sequence[str] | None, *, paused: bool, actor: str
) -> ActionOutcome:
    """Stop or resume delivery to targets; None means all of them that are pushed to.

    What waits for them keeps waiting; what is under way at this moment still arrives.
    """
    return _hold(
        ledger, "target", "SELECT target AS id, paused_at IS NOT NULL AS paused FROM targets",
        "UPDATE targets SET paused_at = CASE WHEN $1 THEN $3::TIMESTAMP END "
        "WHERE list_contains($2, target)",
        targets, paused=paused, actor=actor,
    )  # fmt: skip


def _hold(
    ledger: Ledger,
    entity: str,
    look: str,
    change: str,
    wanted: Sequence[int] | Sequence[str] | None,
    *,
    paused: bool,
    actor: str,
) -> ActionOutcome:
    with ledger.transaction() as transaction:
        states = {row["id"]: row["paused"] for row in transaction.rows(look)}
        meant = list(states) if wanted is None else list(wanted)
        chosen = [name for name in meant if states.get(name, paused) is not paused]
        transaction.execute(change, paused, chosen, *([now()] if "$3" in change else []))
        for name in chosen:
            state = "paused" if paused else ("open" if entity == "job" else "running")
            transaction.record_move(entity, name, state, actor=actor)
    gone = sum(name not in states for name in meant)
    already = len(meant) - len(chosen) - gone
    return outcome(ledger, len(chosen), skipped={_ALREADY[paused]: already, _GONE: gone})
