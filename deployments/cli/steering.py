"""Commands that change something: short marks in the ledger that the pipeline carries out."""

import getpass
import sys
from collections.abc import Mapping

import typer

from batching.errors import BadInput
from deployments.cli.recording import on_record
from deployments.cli.surroundings import (
    data_directory,
    existing_directory,
    job_id_of,
    load_settings,
    open_ledger,
    pipeline_is_running,
    reading,
    say,
)
from storage import jobs
from storage.directory import DataDirectory
from storage.intake_gate import pause_intake, resume_intake
from storage.ledger import Ledger
from storage.log_files import lines_waiting
from storage.reports.progress import jobs_report
from storage.reports.retrying import retry_forecast
from storage.switches import hold_intake


def flush(name: str | None) -> None:
    """Let pending requests go without waiting for batches to fill."""
    ledger = _ledger_with(name)
    waiting = jobs.flush(ledger, name, actor=actor())
    whose = f" of job {name}" if name else ""
    if waiting:
        said(f"{waiting:,} pending requests{whose} go without filling up.", ledger.directory)
    elif next(lines_waiting(ledger.directory), None) is not None:
        say("What was received just now is taken in with the next run and goes without filling up.")
    else:
        say(f"No request{whose} is pending, so there is nothing to flush.")


def cancel(name: str) -> None:
    """Cancel what has not been answered yet."""
    ledger = _ledger_with(name)
    at_once, later = jobs.cancel_job(ledger, name, actor=actor())
    if not at_once and not later:
        say(f"Every request of job {name} is answered, so nothing was cancelled.")
        return
    said(
        f"Job {name}: {at_once:,} pending requests are cancelled; {later:,} are in batches and "
        "end with them (a paid answer that still arrives is delivered).",
        ledger.directory,
    )


def set_paused(name: str, *, paused: bool) -> None:
    """Hold a job's pending requests back, or let them go again."""
    ledger = _ledger_with(name)
    changed = jobs.set_job_paused(ledger, name, paused=paused, actor=actor())
    state = "paused" if paused else "running"
    if not changed:
        say(f"Job {name} was {state} already.")
    elif paused:
        say(
            f"Job {name} is paused: its pending requests wait, batches on their way go on. "
            f"`obm resume {name}` ends that."
        )
    else:
        said(f"Job {name} goes on.", ledger.directory)


def set_intake(*, paused: bool, reason: str | None) -> None:
    """Keep requests over REST out, or let them in again."""
    settings = load_settings()
    directory, who = data_directory(settings), actor()
    changed = on_record(
        settings,
        lambda ledger: hold_intake(ledger, paused=paused, actor=who, reason=reason),
        lambda: (
            pause_intake(directory, actor=who, reason=reason)
            if paused
            else resume_intake(directory)
        ),
    )
    if paused:
        state = "is paused: POST answers 503. `obm intake resume` ends that"
        say(f"Intake over REST {state}." if changed else "Intake over REST was paused already.")
    else:
        say("Intake over REST goes on." if changed else "Intake over REST was not paused.")


def retry(name: str, *, cancelled_too: bool, sure: bool) -> None:
    """Send failed (and cancelled) requests of a job again, after asking."""
    ledger = _ledger_with(name)
    with ledger.transaction() as reader:
        forecast = retry_forecast(reader, name, cancelled_too=cancelled_too)
        job = jobs_report(reader, name=name)[0]
    if not forecast["again"]:
        cancelled = 0 if cancelled_too else job["cancelled"]
        hint = f"; {cancelled:,} were cancelled: --all retries them too" if cancelled else ""
        nothing = "can be retried now" if sum(forecast.values()) else "has failed"
        say(f"No request of job {name} {nothing}{hint}.")
    elif not sure and not _confirmed(forecast["again"], name):
        say("Nothing was changed.")
        return
    else:
        again = jobs.retry_job(ledger, name, cancelled_too=cancelled_too, actor=actor())
        said(f"{again:,} requests of job {name} are pending again.", ledger.directory)
    _say_what_stays(forecast)


def _say_what_stays(forecast: Mapping[str, int]) -> None:
    if forecast["unrecorded"]:
        say(f"{forecast['unrecorded']:,} more can be retried once their results are recorded.")
    if forecast["duplicates"]:
        say(
            f"{forecast['duplicates']:,} were refused as duplicates and stay so: the job has "
            "another request with the same custom_id."
        )


def _confirmed(count: int, name: str) -> bool:
    if not sys.stdin.isatty():
        raise BadInput(
            f"{count:,} requests of job {name} would run again, and what ran before may be paid a "
            "second time: say so with --yes"
        )
    return typer.confirm(
        f"{count:,} requests of job {name} will run again. A request that failed may have been "
        "paid already and would be paid again. Go on?"
    )


def _ledger_with(name: str | None) -> Ledger:
    """Return the ledger, after making sure that there is such a job."""
    settings = load_settings()
    if name is not None:
        with reading(existing_directory(settings)) as reader:
            job_id_of(reader, name)
    return open_ledger(settings)


def said(sentence: str, directory: DataDirectory) -> None:
    """Print what was done, and whether anybody is there to carry it out."""
    say(sentence)
    if not pipeline_is_running(directory):
        say("No pipeline is running at the moment: `obm up` carries this out.", style="yellow")


def actor() -> str:
    """Return who does it, for the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name, as in containers
        return "cli"
