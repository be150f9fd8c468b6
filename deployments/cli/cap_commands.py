"""The commands about token caps: how many tokens may be enqueued for a model."""

# ruff: noqa: PLC0415 - each command imports only what it needs, so that every one starts at once

from typing import Annotated

import typer

from deployments.cli.failures import PlainSpokenGroup

commands = typer.Typer(
    name="cap",
    cls=PlainSpokenGroup,
    help="Token caps: how much may be enqueued for a model at a time.",
    no_args_is_help=True,
)

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or how it begins.")]


@commands.command("list")
def list_caps(
    *, json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False
) -> None:
    """List the caps that were set, with their use now."""
    from deployments.cli import capping

    capping.show(as_json=json)


@commands.command("set")
def set_cap(
    model: _Model,
    tokens: Annotated[str, typer.Argument(metavar="TOKENS", help="As 2000000, 900k or 2M.")],
) -> None:
    """Set a cap; it counts at once, before OBM_TOKEN_LIMITS, and needs no restart."""
    from deployments.cli import capping

    capping.set_cap(model, tokens)


@commands.command("reset")
def reset_cap(model: _Model) -> None:
    """Take a cap away: OBM_TOKEN_LIMITS counts again, or the published limit."""
    from deployments.cli import capping

    capping.reset(model)
