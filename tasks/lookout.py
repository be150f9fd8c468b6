"""The lookout: which flows have something to do right now.

It reads the snapshot and the folders only. The runner asks it before a scheduled run and once a
second, so that work begins when it is there and an idle system costs next to nothing.
"""

from datetime import datetime
from typing import Final

from storage.staging import claimable_files, claimed_sources

from batching.planning import Claim, decide
from storage.completion import jobs_to_complete
from storage.lanes import budget_left_usd, read_lanes, room_for
from storage.ledger import Transaction, now
from storage.outbox import pending_parts
from storage.results import own_results_waiting
from storage.snapshots import snapshot
from tasks.resources import Resources

FLOW_NAMES: Final = ("ingest", "submit", "track", "deliver", "upkeep")


def flows_with_work(resources: Resources) -> frozenset[str]:
    """Return the names of the flows that would do something if they ran now."""
    busy = {"ingest"} if _ingest(resources) else set()
    if not resources.directory.ledger.exists():
        return frozenset(busy)
    with snapshot(resources.directory) as reader:
        at = now()
        if _submit(reader, resources, at):
            busy.add("submit")
        if _track(reader, at):
            busy.add("track")
        if _deliver(reader):
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


def _submit(reader: Transaction, resources: Resources, at: datetime) -> bool:
    return (
        _account_to_probe(reader, at)
        or _create_to_settle(reader, at)
        or _batch_to_go_on(reader, resources, at)
        or _lane_to_claim(reader, resources, at)
    )


def _account_to_probe(reader: Transaction, at: datetime) -> bool:
    return _any(reader, "accounts WHERE trouble IS NOT NULL AND next_probe_at <= ?", at)


def _create_to_settle(reader: Transaction, at: datetime) -> bool:
    due = "batches WHERE state = 'submitting' AND (not_before IS NULL OR not_before <= ?)"
    return _any(reader, due, at)


def _batch_to_go_on(reader: Transaction, resources: Resources, at: datetime) -> bool:
    """Tell whether a planned batch can be uploaded or an uploaded one created."""
    rows = reader.rows(
        "SELECT batch_id, state FROM batches JOIN lanes USING (lane_id) "
        "LEFT JOIN accounts USING (account) WHERE state IN ('planned', 'uploaded') "
        "AND (not_before IS NULL OR not_before <= ?) AND trouble IS NULL",
        at,
    )
    return any(
        row["state"] == "planned"
        or room_for(reader, row["batch_id"], token_limit_of=resources.token_limit_of)
        for row in rows
    )


def _lane_to_claim(reader: Transaction, resources: Resources, at: datetime) -> bool:
    policy = resources.policy
    budget_usd = budget_left_usd(reader, policy, at=at)
    return any(
        isinstance(decide(lane.view, limits=policy.limits, budget_usd=budget_usd, at=at), Claim)
        or (
            _has_oversized(lane.view.first_tokens, lane.view.token_limit)
            and lane.view.token_limit_certain
        )
        for lane in read_lanes(reader, policy, at=at)
    )


def _has_oversized(first_tokens: int, token_limit: int | None) -> bool:
    return token_limit is not None and first_tokens > token_limit


def _track(reader: Transaction, at: datetime) -> bool:
    return _any(
        reader,
        "batches WHERE (state = 'submitted' AND (next_poll_at IS NULL OR next_poll_at <= $1)) "
        "OR (state = 'ended' AND (not_before IS NULL OR not_before <= $1))",
        at,
    )


def _deliver(reader: Transaction) -> bool:
    return bool(
        pending_parts(reader, most=1) or own_results_waiting(reader) or jobs_to_complete(reader)
    )


def _any(reader: Transaction, rows: str, *parameters: object) -> bool:
    return bool(reader.value(f"SELECT count(*) FROM {rows}", *parameters))
