"""Commands that only look: `obm status`, `obm jobs`, `obm results`."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from rich.live import Live

from batching.errors import BadInput
from batching.estimates import synchronous_usd
from batching.prices import PriceTable
from batching.provider import TokenUsage
from deployments.cli.status_page import Status, jobs_table, render
from deployments.cli.surroundings import (
    existing_directory,
    job_id_of,
    load_settings,
    out,
    pipeline_is_running,
    print_json,
    reading,
    say,
)
from storage.accounts import troubles
from storage.directory import DataDirectory
from storage.durable import written_durably
from storage.inbox import waiting_files
from storage.inquiries import spending_report
from storage.ledger import Transaction, now
from storage.reports.progress import (
    batches_by_state,
    jobs_report,
    lanes_report,
    open_batches_report,
    requests_by_state,
)
from storage.result_streams import answered_after, count_answered, result_lines
from storage.submission_lock import submission_lock

_WATCH_SECONDS = 1.0


def show_status(*, as_json: bool, watch: bool) -> None:
    """Print where everything stands; with `watch`, until nothing is under way any more."""
    settings = load_settings()
    directory, prices = existing_directory(settings), PriceTable.load(settings.price_table)
    if as_json:
        print_json(read_status(directory, prices).as_json())
    elif watch:
        _watch(directory, prices)
    else:
        out().print(render(read_status(directory, prices), at=now()))


def _watch(directory: DataDirectory, prices: PriceTable) -> None:
    status = read_status(directory, prices)
    with Live(render(status, at=now()), console=out(), auto_refresh=False) as live:
        while status.is_something_under_way:
            time.sleep(_WATCH_SECONDS)
            status = read_status(directory, prices)
            live.update(render(status, at=now()), refresh=True)
        live.refresh()


def read_status(directory: DataDirectory, prices: PriceTable) -> Status:
    """Return where everything stands right now."""
    files = waiting_files(directory)
    is_running = pipeline_is_running(directory)
    with reading(directory) as reader:
        if reader is None:
            return Status(root=directory.root, pipeline_is_running=is_running, inbox=files)
        lock = submission_lock(reader)
        return Status(
            root=directory.root,
            pipeline_is_running=is_running,
            inbox=files,
            troubles=troubles(reader),
            submission_lock=None if lock is None else lock.sentence,
            jobs=jobs_report(reader),
            lanes=lanes_report(reader),
            batches=batches_by_state(reader),
            open_batches=open_batches_report(reader),
            requests=requests_by_state(reader),
            money=_money(reader, prices),
        )


def _money(reader: Transaction, prices: PriceTable) -> list[dict[str, Any]]:
    """Return cost by model, beside it what the same tokens cost synchronously."""
    rows = spending_report(reader)
    for row in rows:
        usage = TokenUsage(
            input_tokens=row["input_tokens"],
            cached_tokens=row["cached_tokens"],
            output_tokens=row["output_tokens"],
        )
        price = prices.price_of(row["model"])
        row["synchronous_usd"] = synchronous_usd(price, usage, row["cost_usd"])
    return rows


def show_jobs(*, as_json: bool) -> None:
    """Print every job with its progress."""
    directory = existing_directory(load_settings())
    with reading(directory) as reader:
        jobs = jobs_report(reader) if reader is not None else []
    if as_json:
        print_json(jobs)
    elif jobs:
        out().print(jobs_table(jobs))
    else:
        say(f"There are no jobs yet in {directory.root}: `obm submit FILE` begins one.")


def write_results(name: str, *, target: Path | None) -> None:
    """Write the job's results so far, in input order, to a file or to standard output."""
    directory = existing_directory(load_settings())
    with reading(directory) as reader:
        job_id = job_id_of(reader, name)
        assert reader is not None  # noqa: S101 - job_id_of has raised without a ledger
        job = jobs_report(reader, name=name)[0]
        if not job["requests"] and job["completed_at"]:
            raise BadInput(
                f"the results of job {name!r} were deleted when OBM_KEEP_REQUESTS_DAYS was over; "
                f"what was delivered is in {directory.outbox / job['slug']}"
            )
        lines = result_lines(directory, partial(answered_after, reader, job_id))
        if target is None:
            _write(sys.stdout.buffer, lines)
        else:
            with written_durably(target) as file:
                _write(file, lines)
        written = count_answered(reader, job_id)
    _say_missing(name, job, written, target)


def _write(file: BinaryIO, lines: Any) -> None:
    file.writelines(lines)
    file.flush()


def _say_missing(name: str, job: dict[str, Any], written: int, target: Path | None) -> None:
    """Say on standard error how much of the job this was: standard output is for lines only."""
    place = f" to {target}" if target is not None else ""
    missing = job["requests"] - written
    if missing or target is not None:
        open_part = f"; {missing:,} are not answered yet" if missing else ""
        sys.stderr.write(f"obm: wrote {written:,} results of job {name}{place}{open_part}\n")
