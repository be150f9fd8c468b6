"""The page that `obm status` shows, made from figures alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from storage.inbox import WaitingFile

_MOST_ROWS = 20
_BAR_WIDTH = 24
_Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where everything stands at one moment."""

    root: Path
    pipeline_is_running: bool
    inbox: Sequence[WaitingFile]
    troubles: Sequence[_Row] = ()
    """Accounts that the provider refuses."""
    submission_lock: str | None = None
    """Why nothing is sent after a restore."""
    jobs: Sequence[_Row] = ()
    lanes: Sequence[_Row] = ()
    batches: Mapping[str, int] = field(default_factory=dict)
    open_batches: Sequence[_Row] = ()
    requests: Mapping[str, int] = field(default_factory=dict)
    money: Sequence[_Row] = ()

    @property
    def is_something_under_way(self) -> bool:
        """Whether requests wait for an answer or files wait to be taken in."""
        on_their_way = self.requests.get("pending", 0) + self.requests.get("batched", 0)
        return bool(on_their_way or self.open_batches or self.inbox)

    @property
    def spent_usd(self) -> Decimal:
        """What collected batches have cost, as far as prices are known."""
        return sum((row["cost_usd"] for row in self.money if row["cost_usd"]), Decimal(0))

    @property
    def saved_usd(self) -> Decimal:
        """What the same tokens would have cost more synchronously."""
        return sum(
            (row["synchronous_usd"] - row["cost_usd"] for row in self.money
             if row["cost_usd"] and row["synchronous_usd"]),
            Decimal(0),
        )  # fmt: skip

    @property
    def unpriced_models(self) -> list[str]:
        """Models of which some batches have no known cost."""
        return [row["model"] for row in self.money if row["unpriced_batches"]]

    def as_json(self) -> dict[str, Any]:
        """Return the same for a script."""
        return {
            "data_dir": self.root,
            "pipeline_running": self.pipeline_is_running,
            "inbox": [asdict(file) for file in self.inbox],
            "troubles": self.troubles,
            "submission_lock": self.submission_lock,
            "jobs": self.jobs,
            "lanes": self.lanes,
            "batches": self.batches,
            "open_batches": self.open_batches,
            "requests": self.requests,
            "money": {
                "spent_usd": self.spent_usd,
                "saved_usd": self.saved_usd,
                "models_without_price": self.unpriced_models,
                "models": self.money,
            },
        }


def render(status: Status, *, at: datetime) -> RenderableType:
    """Return the whole page."""
    return Group(*_sections(status, at))


def _sections(status: Status, at: datetime) -> Iterator[RenderableType]:
    yield _heading(status)
    yield from _troubles(status, at)
    if status.inbox:
        yield _section("Inbox", _inbox_table(status.inbox, at))
    if status.jobs:
        yield _section("Jobs", jobs_table(status.jobs[:_MOST_ROWS]))
        if len(status.jobs) > _MOST_ROWS:
            yield Text(f"  and {len(status.jobs) - _MOST_ROWS} older: `obm jobs` lists all")
    waiting = [lane for lane in status.lanes if lane["pending"] or lane["wait_reason"]]
    if waiting:
        yield _section("Lanes with requests that wait", _lanes_table(waiting, at))
    if status.open_batches:
        yield _section("Batches on their way", _batches_table(status.open_batches, at))
    if status.requests:
        yield _section("Requests", Text(_counts(status.requests)))
    if status.batches:
        yield _section("Batches", Text(_counts(status.batches)))
    if status.money:
        yield _section("Money", _money_text(status))


def _troubles(status: Status, at: datetime) -> Iterator[RenderableType]:
    for row in status.troubles:
        yield _section("The provider refuses the account", _trouble_text(row, at))
    if status.submission_lock:
        hint = "`obm sweep` does it now, a running pipeline by itself."
        text = Text(f"{status.submission_lock}. {hint}", "red")
        yield _section("Submission is locked", text)


def _heading(status: Status) -> Text:
    text = Text(f"{status.root}: ")
    if status.pipeline_is_running:
        return text.append("the pipeline is running", "green")
    hint = "no pipeline is running"
    if status.is_something_under_way:
        hint += "; `obm up` works on what waits here"
    elif not status.jobs:
        hint += " and nothing was taken in yet; `obm submit FILE` puts a request file in"
    return text.append(hint, "yellow" if status.is_something_under_way else "dim")


def _trouble_text(row: _Row, at: datetime) -> Text:
    since = f"{row['account']}, for {ago(row['since'], at)}. It is tried again by itself."
    return Text(f"{row['trouble']}\n{since}", "red")


def _section(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", "bold"), Padding(content, (0, 0, 0, 2), expand=False))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        right = heading.startswith("#")
        table.add_column(heading.removeprefix("#"), justify="right" if right else "left")
    return table


def jobs_table(jobs: Sequence[_Row]) -> Table:
    """Return the jobs with a bar each for what is answered."""
    table = _table("job", "", "#answered", "#failed", "#rejected", "#delivered", "state")
    for job in jobs:
        answered = job["succeeded"] + job["failed"] + job["cancelled"]
        table.add_row(
            job["name"],
            ProgressBar(total=max(job["requests"], 1), completed=answered, width=_BAR_WIDTH),
            f"{answered:,} of {job['requests']:,}",
            f"{job['failed']:,}",
            f"{job['rejected']:,}",
            f"{job['delivered']:,}",
            _job_state(job),
        )
    return table


def _job_state(job: _Row) -> str:
    if job["completed_at"]:
        return f"complete since {job['completed_at']:%Y-%m-%d %H:%M} UTC"
    if job["paused"]:
        return "paused"
    if job["cancelled"]:
        return f"{job['cancelled']:,} cancelled"
    return "under way"


def _inbox_table(files: Sequence[WaitingFile], at: datetime) -> Table:
    table = _table("file", "#bytes", "#since", "")
    for file in files[:_MOST_ROWS]:
        table.add_row(file.name, f"{file.bytes:,}", ago(file.since, at), file.remark)
    if len(files) > _MOST_ROWS:
        table.add_row(f"and {len(files) - _MOST_ROWS} more")
    return table


def _lanes_table(lanes: Sequence[_Row], at: datetime) -> Table:
    table = _table("endpoint", "model", "#pending", "#tokens", "waits for", "since", "why")
    for lane in lanes:
        table.add_row(
            lane["endpoint"],
            lane["model"],
            f"{lane['pending']:,}",
            f"{lane['pending_tokens']:,}",
            lane["wait_reason"] or "the next run",
            ago(lane["waiting_since"], at) if lane["waiting_since"] else "",
            _why(lane),
        )
    return table


def _why(lane: _Row) -> str:
    detail = lane["wait_detail"] or ""
    if lane["wait_reason"] == "backoff" and lane["backoff_until"]:
        return f"{detail}, until {lane['backoff_until']:%H:%M:%S} UTC"
    return detail


def _batches_table(batches: Sequence[_Row], at: datetime) -> Table:
    table = _table("#batch", "model", "state", "", "#done", "since", "remark")
    for batch in batches[:_MOST_ROWS]:
        done = (batch["completed"] or 0) + (batch["failed"] or 0)
        table.add_row(
            str(batch["batch_id"]),
            batch["model"],
            batch["provider_status"] or batch["state"],
            ProgressBar(total=max(batch["requests"], 1), completed=done, width=_BAR_WIDTH),
            f"{done:,} of {batch['requests']:,}",
            ago(batch["submitted_at"], at) if batch["submitted_at"] else "",
            batch["fault_message"] or "",
        )
    if len(batches) > _MOST_ROWS:
        table.add_row("", f"and {len(batches) - _MOST_ROWS} more")
    return table


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))


def _money_text(status: Status) -> Text:
    text = Text(
        f"${status.spent_usd:,.4f} spent so far, ${status.saved_usd:,.4f} saved against "
        "synchronous prices"
    )
    if status.unpriced_models:
        models = ", ".join(status.unpriced_models)
        text.append(f"; the cost of {models} is not known and not in it", "yellow")
    return text


def ago(moment: datetime, at: datetime) -> str:
    """Return how long something lasts already, in the unit that says most."""
    seconds = max(0, int((at - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
