"""The command line `obm`: its commands and options; what each one does is in its own module."""

# ruff: noqa: PLC0415 - each command imports only what it needs, so that every one starts at once

import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from batching.access import Scope
from deployments.cli import cap_commands, delivery_commands, doctor_command, sweep_commands
from deployments.cli.failures import WRONG_USAGE, PlainSpokenGroup, say_wrong

application = typer.Typer(
    name="obm",
    cls=PlainSpokenGroup,
    help="Send OpenAI requests now, get every result later, at half the price.",
    epilog=(
        "Settings come from the environment and from .env: `obm config` shows them. Commands that "
        "wait end with 0 if all succeeded, 3 if some failed or were rejected, 4 if time was over; "
        "2 stands for wrong usage or configuration."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _BRING, _LOOK, _STEER = "Run", "Bring requests", "Look", "Steer"

token = typer.Typer(
    name="token",
    cls=PlainSpokenGroup,
    help="Tokens for the REST API: who may submit, read, operate.",
    no_args_is_help=True,
)
application.add_typer(token, rich_help_panel=_STEER)
application.add_typer(cap_commands.commands, rich_help_panel=_STEER)
application.add_typer(delivery_commands.commands)
application.add_typer(doctor_command.commands)
application.add_typer(sweep_commands.commands)


class IntakeAction(StrEnum):
    """What `obm intake` does."""

    PAUSE = "pause"
    RESUME = "resume"


_Job = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
_Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="Request files: .jsonl (also .gz, .zst), .csv or .parquet.",
        show_default=False,
    ),
]
_Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=0, help="Give up after so long.", show_default=False),
]


def main() -> None:
    """Run the command that the process was started with."""
    try:
        application(prog_name="obm")
    except SystemExit as end:
        _leave(end.code)


def _leave(code: object) -> None:
    """End the process; where Prefect ran, without waiting for its threads.

    They outlive every orderly stop, and DuckDB takes what they hold for a leak: it says so on
    thirty lines.
    """
    if "prefect" not in sys.modules:
        raise SystemExit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1 if code else 0)


@application.command(rich_help_panel=_RUN)
def up() -> None:
    """Run everything until Ctrl-C: take in files, send batches, deliver results."""
    from deployments.cli.running import run_up

    raise typer.Exit(run_up())


@application.command(rich_help_panel=_RUN)
def pipeline() -> None:
    """Run the pipeline role alone, in this process."""
    from deployments.cli.running import run_pipeline_alone

    raise typer.Exit(run_pipeline_alone())


@application.command(rich_help_panel=_RUN)
def consume() -> None:
    """Take requests from RabbitMQ, alone, in this process."""
    from deployments.consumer import run_consumer

    raise typer.Exit(run_consumer())


class WebPart(StrEnum):
    """What `obm web --only` takes."""

    API = "api"
    DASHBOARD = "dashboard"


@application.command(rich_help_panel=_RUN)
def web(
    *,
    only: Annotated[
        WebPart | None,
        typer.Option("--only", help="One of the two alone, to run each in a process of its own."),
    ] = None,
) -> None:
    """Run the web role alone, in this process: the REST API and the dashboard."""
    from deployments.cli.running import run_web_alone

    raise typer.Exit(run_web_alone(only))


@application.command(rich_help_panel=_RUN)
def run(
    *,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is left to do (required).")
    ] = False,
    timeout: _Timeout = None,
    poll_interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.05, help="Time between two looks at a batch.")
    ] = 2.0,
) -> None:
    """Work through what is there, closing batches at once, and end: for scripts and cron."""
    if not until_idle:
        say_wrong("say `obm run --until-idle`; to run for ever there is `obm up`")
        raise typer.Exit(WRONG_USAGE)
    from deployments.cli.running import run_to_the_end

    raise typer.Exit(run_to_the_end(timeout_seconds=timeout, poll_interval_seconds=poll_interval))


@application.command(rich_help_panel=_RUN)
def demo() -> None:
    """Show the whole pipeline on example files, against the simulator: no key, no costs."""
    from deployments.demo import run_demo

    raise typer.Exit(run_demo())


@application.command(rich_help_panel=_RUN)
def simulate(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder for its state, which survives a restart.")
    ] = Path("simulator-data"),
    speed: Annotated[
        str, typer.Option(help="Seconds that a phase of a batch lasts, or `max`.")
    ] = "max",
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PARAMETER=VALUE,…]",
            help="Something that goes wrong; may be given several times.",
            show_default=False,
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Demand this key instead of taking any.", show_default=False)
    ] = None,
    accounts_by_key: Annotated[
        bool, typer.Option("--accounts-by-key", help="Each key sees only what it made.")
    ] = False,
    list_scenarios: Annotated[
        bool, typer.Option("--list-scenarios", help="Describe all scenarios and end.")
    ] = False,
) -> None:
    """Serve OpenAI's Files and Batch API from this machine, with faults on request."""
    if list_scenarios:
        from simulator.scenarios import describe_scenarios

        typer.echo(describe_scenarios())
        return
    from deployments.cli.running import run_simulation

    run_simulation(
        host=host,
        port=port,
        folder=folder,
        speed=speed,
        scenarios=scenario or [],
        api_key=api_key,
        accounts_by_key=accounts_by_key,
    )


@application.command(rich_help_panel=_BRING)
def submit(
    files: _Files,
    *,
    label: Annotated[
        str | None,
        typer.Option(help="Name of the job; files with the same label join one."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all is answered.")] = False,
    timeout: _Timeout = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also if the same content was taken in before.")
    ] = False,
) -> None:
    """Put request files into the inbox."""
    from deployments.cli.submitting import submit as submit_files

    raise typer.Exit(
        submit_files(files, label=label, again=again, wait=wait, timeout_seconds=timeout)
    )


@application.command(rich_help_panel=_BRING)
def estimate(files: _Files, *, json: _Json = False) -> None:
    """Say what files would take and cost, without sending or writing anything."""
    from deployments.cli.estimating import show_estimate

    raise typer.Exit(show_estimate(files, as_json=json))


@application.command(rich_help_panel=_LOOK)
def status(
    *,
    json: _Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep looking until nothing is under way.")
    ] = False,
) -> None:
    """Show where everything stands: inbox, jobs, lanes, batches, money."""
    from deployments.cli.looking import show_status

    show_status(as_json=json, watch=watch)


@application.command(rich_help_panel=_LOOK)
def jobs(*, json: _Json = False) -> None:
    """List all jobs with their progress."""
    from deployments.cli.looking import show_jobs

    show_jobs(as_json=json)


@application.command(rich_help_panel=_LOOK)
def results(
    job: _Job,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write here, not to standard output."),
    ] = None,
) -> None:
    """Write a job's results so far as JSON lines, in input order."""
    from deployments.cli.looking import write_results

    write_results(job, target=output)


@application.command(rich_help_panel=_STEER)
def flush(
    job: Annotated[
        str | None,
        typer.Argument(metavar="[JOB]", help="One job only.", show_default=False),
    ] = None,
) -> None:
    """Send pending requests now, without waiting for batches to fill."""
    from deployments.cli import steering

    steering.flush(job)


@application.command(rich_help_panel=_STEER)
def cancel(job: _Job) -> None:
    """Cancel a job's requests that are not answered yet."""
    from deployments.cli import steering

    steering.cancel(job)


@application.command(rich_help_panel=_STEER)
def pause(job: _Job) -> None:
    """Hold a job's pending requests back."""
    from deployments.cli import steering

    steering.set_paused(job, paused=True)


@application.command(rich_help_panel=_STEER)
def resume(job: _Job) -> None:
    """Let a paused job go on."""
    from deployments.cli import steering

    steering.set_paused(job, paused=False)


@application.command(rich_help_panel=_STEER)
def retry(
    job: _Job,
    *,
    everything: Annotated[
        bool,
        typer.Option("--all/--failed", help="Cancelled requests too, or failed ones only."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Send a job's failed requests again; what ran may be paid a second time."""
    from deployments.cli import steering

    steering.retry(job, cancelled_too=everything, sure=yes)


@application.command(rich_help_panel=_STEER)
def intake(
    action: Annotated[IntakeAction, typer.Argument(help="What to do.", show_default=False)],
    *,
    reason: Annotated[
        str | None,
        typer.Option(help="Told to whoever sends requests meanwhile.", show_default=False),
    ] = None,
) -> None:
    """Take no new requests over REST for a while (503), or take them again."""
    from deployments.cli import steering

    steering.set_intake(paused=action is IntakeAction.PAUSE, reason=reason)


@token.command("create")
def create_token(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Who uses it; the audit trail says it."),
    ],
    *,
    scope: Annotated[
        list[Scope],
        typer.Option(help="What it allows; may be given several times.", show_default=False),
    ],
) -> None:
    """Make a token and print it, once."""
    from deployments.cli import tokens

    tokens.create(name, scope)


@token.command("list")
def list_tokens(*, json: _Json = False) -> None:
    """List all tokens, without their secrets."""
    from deployments.cli import tokens

    tokens.show(as_json=json)


@token.command("revoke")
def revoke_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the token.")],
) -> None:
    """End a token for ever."""
    from deployments.cli import tokens

    tokens.revoke(name)


@application.command(rich_help_panel=_LOOK)
def config(*, json: _Json = False) -> None:
    """Show the settings in force and where each one comes from."""
    from deployments.cli.configuration import show_configuration

    show_configuration(as_json=json)


@application.command(rich_help_panel=_LOOK)
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    typer.echo(version_of("openai-batch-manager"))
