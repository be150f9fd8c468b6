"""`obm deliveries`, `obm destinations`, `obm redeliver`: pushed results, seen and brought again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from batching.errors import BadInput
from batching.lifecycle import DeliveryState
from deployments.cli.steering import actor, said
from deployments.cli.surroundings import (
    existing_directory,
    job_id_of,
    load_settings,
    open_ledger,
    out,
    print_json,
    reading,
    say,
)
from storage import redelivery
from storage.batch_queries import batch_exists
from storage.delivery_queries import deliveries_page, destinations_report


def show_deliveries(
    *, state: str | None, job: str | None, target: str | None, limit: int, as_json: bool
) -> None:
    """Print deliveries, the newest first."""
    known = [each.value for each in DeliveryState]
    if state is not None and state not in known:
        raise BadInput(f"no delivery is {state!r}; the states are {', '.join(known)}")
    with reading(existing_directory(load_settings())) as reader:
        rows = [] if reader is None else deliveries_page(
            reader, state=state, outcome=None, target=target, job=job, before=None, most=limit
        )  # fmt: skip
    if as_json:
        print_json(rows)
    elif rows:
        out().print(_deliveries_table(rows))
    else:
        say("There are no such deliveries. Results that go to files are in the outbox.")


def show_destinations(*, as_json: bool) -> None:
    """Print every destination with what waits for it."""
    with reading(existing_directory(load_settings())) as reader:
        rows = [] if reader is None else destinations_report(reader)
    if as_json:
        print_json(rows)
    elif rows:
        out().print(_destinations_table(rows))
    else:
        say("Nothing was taken in yet, so there are no destinations.")


def enable(target: str) -> None:
    """Let a target be called again at once, disabled or not."""
    ledger = open_ledger(load_settings())
    count = redelivery.enable_destination(ledger, target, actor=actor())
    said(f"{target} is called again; {count} of its destinations were disabled.", ledger.directory)


def redeliver(
    *,
    job: str | None,
    batch: int | None,
    target: str | None,
    custom_ids: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    failed_only: bool,
) -> None:
    """Let the chosen results be brought again; everything at once must be said by name."""
    selection = redelivery.Selection(
        job=job, batch=batch, target=target, custom_ids=custom_ids,
        since=_in_utc(since), until=_in_utc(until),
    )  # fmt: skip
    if selection.is_everything and not failed_only:
        raise BadInput("--all without anything else would bring every result again: say of which")
    ledger = open_ledger(load_settings())
    with ledger.transaction() as reader:
        if job is not None:
            job_id_of(reader, job)
        if batch is not None and not batch_exists(reader, batch):
            raise BadInput(f"there is no batch {batch}: `obm status` lists those under way")
    count = redelivery.redeliver(ledger, selection, failed_only=failed_only, actor=actor())
    if count:
        said(f"{count:,} results are brought again.", ledger.directory)
    else:
        say("There is nothing to bring again; `--all` takes delivered results too.")


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _deliveries_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = ("id", "job", "custom_id", "target", "state", "attempts", "next attempt", "problem")
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        next_at = row["next_attempt_at"]
        table.add_row(
            str(row["id"]), row["job"], row["custom_id"], row["target"], row["state"],
            str(row["attempts"]), "" if next_at is None else f"{next_at:%Y-%m-%d %H:%M:%S}",
            row["problem"] or "",
        )  # fmt: skip
    return table


def _destinations_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = ("id", "target", "due", "pending", "dead", "state", "problem")
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        state = "disabled" if row["disabled_at"] else f"breaker {row['breaker']}"
        table.add_row(
            str(row["id"]), row["target"], str(row["due"]), str(row["pending"]),
            str(row["exhausted"]), "" if state == "breaker closed" else state,
            row["disabled_because"] or row["problem"] or "",
        )  # fmt: skip
    return table
