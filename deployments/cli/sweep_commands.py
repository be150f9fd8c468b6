"""The commands about what the ledger may have lost sight of: `obm sweep`, `obm rebuild`."""

# ruff: noqa: PLC0415 - each command imports only what it needs, so that every one starts at once

from typing import Annotated

import typer

commands = typer.Typer()

_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@commands.command(rich_help_panel="Look")
def sweep(
    *,
    adopt: Annotated[
        str | None,
        typer.Option(metavar="BATCH", help="Collect this lost batch of ours.", show_default=False),
    ] = None,
    cancel: Annotated[
        str | None,
        typer.Option(metavar="BATCH", help="End this batch at the provider.", show_default=False),
    ] = None,
    delete: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Delete this file there.", show_default=False),
    ] = None,
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Let requests be sent though the sweep has not ended.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why; the audit trail keeps it.", show_default=False)
    ] = None,
    yes: _Yes = False,
    json: _Json = False,
) -> None:
    """List batches and files of the account that this installation does not know."""
    from deployments.cli.failures import WRONG_USAGE, say_wrong
    from deployments.cli.sweeping import Wish, act, show_sweep

    wanted = {"adopt": adopt, "cancel": cancel, "delete": delete}
    wishes = [Wish(verb, target) for verb, target in wanted.items() if target is not None]
    wishes += [Wish("unlock", "")] if unlock else []
    if len(wishes) > 1:
        say_wrong("one of --adopt, --cancel, --delete and --unlock at a time")
        raise typer.Exit(WRONG_USAGE)
    if wishes:
        act(wishes[0], reason=reason, sure=yes, as_json=json)
    else:
        show_sweep(as_json=json)


@commands.command(rich_help_panel="Steer")
def rebuild(
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also if there is a ledger; it is kept in backups/.")
    ] = False,
    json: _Json = False,
) -> None:
    """Make a new ledger from segments, manifests and results, after its loss."""
    from deployments.cli.rebuilding import rebuild as make_anew

    make_anew(force=force, as_json=json)
