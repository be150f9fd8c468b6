"""The lookout: which flows have something to do right now.

It reads the snapshot and the folders only. The runner asks it before a scheduled run and once a
second, so that work begins when it is there and an idle system costs next to nothing.
"""

from datetime import datetime
from typing import Final

from batching.planning import Claim, LaneView, decide
from storage.account_changes import unsent_elsewhere
from storage.accounts import probe_is_due
from storage.completion import jobs_to_complete
from storage.deliveries import due_targets
from storage.growth import grown_files
from storage.intake_log import has_abandoned_logs
from storage.lanes import budget_left_usd, read_lanes, room_for
from storage.ledger import Transaction, now
from storage.log_files import logs_are_due
from storage.outbox import pending_parts
from storage.results import own_results_waiting
from storage.snapshots import snapshot
from storage.staging import claimable_files, claimed_sources
from storage.submission_lock import submission_lock
from storage.targets import waits_for_disabled
from storage.waits import is_due_sql
from tasks.resources import Resources

_OUR_BATCHES: Final = "batches JOIN lanes USING (lane_id) WHERE account = $1"
"""Batches of another account are left alone: this one cannot see them."""

FLOW_NAMES: Final = ("ingest", "submit", "track", "deliver", "upkeep")


def flows_with_work(
    resources: Resources, *, max_age_seconds: float = 1.0, nudging: bool = False
) -> frozenset[str]:
    """Return the names of the flows that would do something if they ran now.

    `max_age_seconds` is how old the view of the ledger may be, if it has changed since. With
    `nudging` receivers' logs only count once they are worth a segment: they come every few
    seconds, and a scheduled run takes all of them.
    """
    busy = {"ingest"} if _ingest(resources) or _received(resources, nudging=nudging) else set()
    if not resources.directory.ledger.exists():
        return frozenset(busy)
    with snapshot(resources.directory, max_age_seconds=max_age_seconds) as reader:
        at = now()
        if _grown_file(reader, resources, at):
            busy.add("ingest")
        if _submit(reader, resources, at):
            busy.add("submit")
        if _track(reader, resources, at):
            busy.add("track")
        if _deliver(reader, at):
            busy.add("deliver")
    return frozenset(busy)


def _ingest(resources: Resources) -> bool:
    if not resources.directory.inbox.exists():
        return False
    return bool(claimed_sources(resources.directory)) or bool(
        claimable_files(
            resources.directory,
            stable_seconds=resources.settings.file_stable_seconds,
            closing_now=resources.close_at_once,
        )
    )


def _received(resources: Resources, *, nudging: bool) -> bool:
    directory = resources.directory
    patience_seconds = resources.settings.interval_ingest_seconds if nudging else 0.0
    return logs_are_due(directory, patience_seconds=patience_seconds) or has_abandoned_logs(
        directory
    )


def _grown_file(reader: Transaction, resources: Resources, at: datetime) -> bool:
    stable_seconds = resources.settings.file_stable_seconds
    grown = grown_files(reader, resources.directory, at=at, stable_seconds=stable_seconds)
    return any(True for _ in grown)


def _submit(reader: Transaction, resources: Resources, at: datetime) -> bool:
    lock = submission_lock(reader)
    return (
        (lock is not None and lock.is_due(at))
        or probe_is_due(reader, resources.settings.account)
        or unsent_elsewhere(reader, resources.settings.account)
        or _create_to_settle(reader, resources, at)
        or _batch_to_go_on(reader, resources, at)
        or _lane_to_claim(reader, resources, at)
    )


def _create_to_settle(reader: Transaction, resources: Resources, at: datetime) -> bool:
    due = f"{_OUR_BATCHES} AND state = 'submitting' AND {_pause_is_over(resources)}"
    return _any(reader, due, resources.settings.account, at)


def _pause_is_over(resources: Resources) -> str:
    longest_seconds = resources.settings.longest_pause_seconds
    return is_due_sql("not_before", "$2", longest_seconds=longest_seconds)


def _batch_to_go_on(reader: Transaction, resources: Resources, at: datetime) -> bool:
    """Tell whether a planned batch can be uploaded or an uploaded one created."""
    rows = reader.rows(
        f"SELECT batch_id, state FROM {_OUR_BATCHES} AND state IN ('planned', 'uploaded') "
        f"AND {_pause_is_over(resources)} AND NOT EXISTS "
        "(SELECT 1 FROM accounts WHERE accounts.account = $1 AND trouble IS NOT NULL "
        "AND probe_batch_id IS DISTINCT FROM batch_id)",
        resources.settings.account,
        at,
    )
    if submission_lock(reader):
        return False
    return any(
        row["state"] == "planned"
        or room_for(
            reader,
            row["batch_id"],
            token_limit_of=resources.token_limit_of,
            longest_pause_seconds=resources.settings.longest_pause_seconds,
        )
        for row in rows
    )


def _lane_to_claim(reader: Transaction, resources: Resources, at: datetime) -> bool:
    policy = resources.policy
    budget_usd = budget_left_usd(reader, policy, at=at)
    for lane in read_lanes(reader, policy, at=at):
        decision = decide(lane.view, limits=policy.limits, budget_usd=budget_usd, at=at)
        if isinstance(decision, Claim) or _has_oversized(lane.view):
            return True
        if lane.wait_reason != (decision.reason.value if decision else None):
            return True  # nobody has written down yet why it waits
    return False


def _has_oversized(view: LaneView) -> bool:
    limit = view.token_limit if view.token_limit_certain else None
    return limit is not None and view.first_tokens > limit


def _track(reader: Transaction, resources: Resources, at: datetime) -> bool:
    longest_seconds = resources.settings.longest_poll_seconds
    poll_is_due = is_due_sql("next_poll_at", "$2", longest_seconds=longest_seconds)
    return _any(
        reader,
        f"{_OUR_BATCHES} AND ((state = 'submitted' AND {poll_is_due}) "
        f"OR (state = 'ended' AND {_pause_is_over(resources)}))",
        resources.settings.account,
        at,
    )


def _deliver(reader: Transaction, at: datetime) -> bool:
    return bool(
        pending_parts(reader, most=1)
        or own_results_waiting(reader)
        or due_targets(reader, at=at)
        or waits_for_disabled(reader)
        or jobs_to_complete(reader)
    )


def _any(reader: Transaction, rows: str, *parameters: object) -> bool:
    return bool(reader.value(f"SELECT count(*) FROM {rows}", *parameters))
