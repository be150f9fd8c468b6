"""The commands about deliveries: what was pushed where, and bringing it again."""

# ruff: noqa: PLC0415 - each command imports only what it needs, so that every one starts at once

from datetime import datetime
from typing import Annotated

import typer

commands = typer.Typer()

_Job = Annotated[str | None, typer.Option(help="Of this job only.", show_default=False)]
_Target = Annotated[
    str | None,
    typer.Option(help="To this target only, as `obm destinations` shows it.", show_default=False),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@commands.command(rich_help_panel="Look")
def deliveries(
    *,
    state: Annotated[
        str | None,
        typer.Option(help="pending, delivered, exhausted or cancelled.", show_default=False),
    ] = None,
    job: _Job = None,
    target: _Target = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    json: _Json = False,
) -> None:
    """List results that go to webhooks and queues; `--state exhausted` are the dead letters."""
    from deployments.cli import delivering

    delivering.show_deliveries(state=state, job=job, target=target, limit=limit, as_json=json)


@commands.command(rich_help_panel="Look")
def destinations(
    enable: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Call it again, at once.", show_default=False),
    ] = None,
    *,
    json: _Json = False,
) -> None:
    """List where results go, what waits for each and how it answers."""
    from deployments.cli import delivering

    if enable is not None:
        delivering.enable(enable)
    else:
        delivering.show_destinations(as_json=json)


@commands.command(rich_help_panel="Steer")
def redeliver(
    *,
    job: _Job = None,
    batch: Annotated[
        int | None, typer.Option(help="Of this batch only.", show_default=False)
    ] = None,
    target: _Target = None,
    custom_id: Annotated[
        list[str] | None,
        typer.Option(help="Of this request; may be given several times.", show_default=False),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Results from then on, UTC.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Results before then, UTC.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all/--failed", help="Delivered ones too, or dead letters only.")
    ] = False,
) -> None:
    """Bring results to their webhooks and queues again."""
    from deployments.cli import delivering

    delivering.redeliver(
        job=job, batch=batch, target=target, custom_ids=custom_id or (), since=since,
        until=until, failed_only=not everything,
    )  # fmt: skip
