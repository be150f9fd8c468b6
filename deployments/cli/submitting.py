"""`obm submit`: files go into the inbox, complete and only if they can be taken in."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.progress import Progress

from batching.errors import BadInput
from batching.jobs import JobSettings, read_job_settings, side_file_name
from deployments.cli.failures import say_wrong
from deployments.cli.surroundings import (
    data_directory,
    load_settings,
    pipeline_is_running,
    reading,
    say,
)
from storage.directory import DataDirectory
from storage.formats import SourceFormat, ends_well, format_of
from storage.inbox import put_into_inbox
from storage.inquiries import (
    jobs_with_content,
    sources_since,
    unfinished_jobs,
    unsuccessful_requests,
)
from storage.ledger import Transaction, now
from storage.source_bytes import content_hash

ALL_WELL, SOME_FAILED, TIMED_OUT = 0, 3, 4
_LOOK_SECONDS = 1.0
_LABEL_AND_AGAIN = (
    "Files of one label join one job, and a job never sends a custom_id with the same content "
    "twice: leave the label out to send everything anew."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What `--wait` waits for."""

    directory: DataDirectory
    names: frozenset[str]
    since: datetime
    timeout_seconds: float | None


def submit(
    paths: Sequence[Path],
    *,
    label: str | None,
    again: bool,
    wait: bool,
    timeout_seconds: float | None,
) -> int:
    """Put the files into the inbox, all or none; return the exit code."""
    directory = data_directory(load_settings())
    checked = [(path, _side_settings(path, label=label, again=again)) for path in paths]
    for path in paths:
        _check_complete(path)
    if not again:
        _check_new(directory, paths)
    since = now()
    directory.create()
    brought = [
        put_into_inbox(directory, path, side_settings=side_settings)
        for path, side_settings in checked
    ]
    _say_brought(directory, brought)
    if not wait:
        return ALL_WELL
    return _wait(
        Waiting(
            directory=directory,
            names=frozenset(file.name for file in brought),
            since=since,
            timeout_seconds=timeout_seconds,
        )
    )


def _side_settings(path: Path, *, label: str | None, again: bool) -> dict[str, Any]:
    """Return what the side file in the inbox will say: the user's own one and the options."""
    if not path.exists():
        raise BadInput(f"there is no file {path}: nothing was submitted")
    if not path.is_file():
        raise BadInput(f"{path} is not a file: nothing was submitted")
    format_of(path.name)
    side_file = path.with_name(side_file_name(path.name))
    settings: dict[str, Any] = {}
    if side_file.exists():
        text = side_file.read_bytes()
        _checked(text, side_file)
        settings = json.loads(text.removeprefix(b"\xef\xbb\xbf"))
    if label is not None:
        settings["label"] = label
    if again:
        settings["again"] = True
        if settings.get("label"):
            say(_LABEL_AND_AGAIN, style="yellow")
    if settings:
        _checked(json.dumps(settings).encode(), side_file)
    return settings


def _checked(text: bytes, side_file: Path) -> JobSettings:
    try:
        return read_job_settings(text)
    except BadInput as error:
        raise BadInput(f"{side_file.name}: {error}") from None


def _check_complete(path: Path) -> None:
    if path.stat().st_size == 0:
        raise BadInput(f"{path} is empty: nothing was submitted")
    if format_of(path.name) is not SourceFormat.JSONL and not ends_well(path):
        raise BadInput(
            f"{path} is cut off or damaged: nothing was submitted; write it again to its end"
        )


def _check_new(directory: DataDirectory, paths: Sequence[Path]) -> None:
    """Refuse content that was taken in before, also when it stands twice among these files."""
    names: dict[str, Path] = {}
    for path in paths:
        found = content_hash(path)
        if found in names:
            raise BadInput(
                f"{path} holds exactly what {names[found]} holds: nothing was submitted; leave "
                "one out, or say --again to send and pay it twice"
            )
        names[found] = path
    with reading(directory) as reader:
        known = jobs_with_content(reader, names) if reader is not None else {}
    for found, job in known.items():
        raise BadInput(
            f"{names[found]} was taken in before, as job {job!r}: nothing was submitted; "
            f"`obm results {job}` has its results, --again sends and pays it once more"
        )


def _say_brought(directory: DataDirectory, brought: Sequence[Path]) -> None:
    for file in brought:
        say(f"{file.name} lies in {directory.inbox}")
    if not pipeline_is_running(directory):
        say(
            "No pipeline is running at the moment: `obm up` (or `obm run --until-idle`) takes it "
            "in and sends it.",
            style="yellow",
        )


def _wait(waiting: Waiting) -> int:
    """Return when the jobs of the files are complete, or time is over."""
    deadline = None
    if waiting.timeout_seconds is not None:
        deadline = time.monotonic() + waiting.timeout_seconds
    with Progress(transient=True) as progress:
        bar = progress.add_task("waiting to be taken in", total=None)
        while True:
            with reading(waiting.directory) as reader:
                sources = _sources(reader, waiting)
                busy = unfinished_jobs(reader, _job_ids(sources)) if reader and sources else []
            taken = {source["name"] for source in sources}
            if taken >= waiting.names and not busy:
                break
            _show(progress, bar, busy)
            if deadline is not None and time.monotonic() >= deadline:
                say_wrong(f"time is over; {_what_is_open(waiting, taken, busy)}")
                return TIMED_OUT
            time.sleep(_LOOK_SECONDS)
    return _conclusion(waiting, sources)


def _sources(reader: Transaction | None, waiting: Waiting) -> list[dict[str, Any]]:
    if reader is None:
        return []
    return sources_since(reader, waiting.names, since=waiting.since)


def _job_ids(sources: Sequence[dict[str, Any]]) -> list[int]:
    return [source["job_id"] for source in sources if source["job_id"] is not None]


def _show(progress: Progress, bar: Any, busy: Sequence[dict[str, Any]]) -> None:
    if busy:
        total = sum(job["requests"] for job in busy)
        answered = total - sum(job["open"] for job in busy)
        names = ", ".join(job["name"] for job in busy)
        progress.update(bar, description=names, total=total, completed=answered)


def _what_is_open(waiting: Waiting, taken: set[str], busy: Sequence[dict[str, Any]]) -> str:
    parts = []
    if missing := len(waiting.names - taken):
        parts.append(f"{missing} file(s) are not taken in yet")
    parts += [
        f"job {job['name']} still has {job['open']:,} requests without an answer"
        + (" and is paused" if job["paused"] else "")
        for job in busy
    ]
    if not pipeline_is_running(waiting.directory):
        parts.append("no pipeline is running: start `obm up`")
    return "; ".join(parts)


def _conclusion(waiting: Waiting, sources: Sequence[dict[str, Any]]) -> int:
    with reading(waiting.directory) as reader:
        failed = unsuccessful_requests(reader, _job_ids(sources)) if reader is not None else 0
    rejected = sum(source["rejected"] for source in sources)
    for source in sources:
        _say_source(source)
    if failed:
        say(f"{failed:,} requests ended without success.", style="yellow")
    refused = any(source["outcome"] != "taken_in" for source in sources)
    return SOME_FAILED if failed or rejected or refused else ALL_WELL


def _say_source(source: dict[str, Any]) -> None:
    if source["job"] is None:
        say(f"{source['name']}: not taken in: {source['reason']}", style="yellow")
        return
    rejected = f", {source['rejected']:,} lines rejected" if source["rejected"] else ""
    say(
        f"{source['name']}: {source['accepted']:,} requests of job {source['job']} are answered"
        f"{rejected}"
    )
