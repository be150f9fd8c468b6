"""The command about the state of everything: `obm doctor`."""

from typing import Annotated

import typer

commands = typer.Typer()


@commands.command(rich_help_panel="Look")
def doctor(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is safe to mend, then look again.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Prove that nothing is lost, doubled or stuck: 0 if healthy, 3 if there are faults."""
    from deployments.cli.doctoring import (  # noqa: PLC0415 - every command starts at once
        show_diagnosis,
    )

    raise typer.Exit(show_diagnosis(repair=repair, as_json=json))
