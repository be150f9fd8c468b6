"""`obm config`: which settings are in force, and where each one comes from."""

import difflib
from typing import Final

from rich.table import Table

from batching.settings_in_force import NamesSet, SettingInForce, settings_in_force
from deployments.cli.failures import say_wrong
from deployments.cli.surroundings import load_settings, out, print_json

_OURS: Final = "OBM_"
_NO_SETTINGS: Final = frozenset({"OBM_DEBUG"})


def show_configuration(*, as_json: bool) -> None:
    """Print every setting in force with its source; secrets are masked."""
    settings = load_settings()
    names = NamesSet.now()
    rows = settings_in_force(settings, names)
    if as_json:
        print_json({row.variable: {"value": row.value, "source": row.source} for row in rows})
    else:
        out().print(_table(rows))
    known = {row.variable for row in rows} | _NO_SETTINGS
    for name in sorted((names.environment | names.env_file) - known):
        if name.startswith(_OURS):
            say_wrong(_unknown(name, known))


def _table(rows: list[SettingInForce]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "what it is"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        style = "dim" if row.source == "default" else "bold"
        table.add_row(row.variable, row.value or "-", row.source, row.description, style=style)
    return table


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{name} is set but is no setting of this product{hint}"
