"""`obm config`: which settings are in force, and where each one comes from."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import AliasChoices, SecretStr
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from rich.table import Table

from batching.settings import Settings
from deployments.cli.failures import say_wrong
from deployments.cli.surroundings import load_settings, out, print_json

_MASK: Final = "********"
_CREDENTIALS: Final = re.compile(r"://[^/@\s]+@")
_OURS: Final = "OBM_"
_NO_SETTINGS: Final = frozenset({"OBM_DEBUG"})


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingInForce:
    """One setting with its value as it may be shown."""

    variable: str
    value: str
    source: str
    description: str


def show_configuration(*, as_json: bool) -> None:
    """Print every setting in force with its source; secrets are masked."""
    settings = load_settings()
    environment = _names(EnvSettingsSource(Settings).env_vars)
    env_file = _names(DotEnvSettingsSource(Settings).env_vars)
    rows = settings_in_force(settings, environment=environment, env_file=env_file)
    if as_json:
        print_json({row.variable: {"value": row.value, "source": row.source} for row in rows})
    else:
        out().print(_table(rows))
    known = {row.variable for row in rows} | _NO_SETTINGS
    for name in sorted((environment | env_file) - known):
        if name.startswith(_OURS):
            say_wrong(_unknown(name, known))


def settings_in_force(
    settings: Settings, *, environment: frozenset[str], env_file: frozenset[str]
) -> list[SettingInForce]:
    """Return every setting, in the order in which they are declared."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = _variable(field.validation_alias)
        source = (
            "environment"
            if variable in environment
            else ".env" if variable in env_file else "default"
        )  # fmt: skip
        rows.append(
            SettingInForce(
                variable=variable,
                value=_shown(getattr(settings, name)),
                source=source,
                description=field.description or "",
            )
        )
    return rows


def _variable(alias: object) -> str:
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else str(alias)


def _names(values: Mapping[str, object]) -> frozenset[str]:
    """Return the names in capitals: settings are found in any case."""
    return frozenset(name.upper() for name in values)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return _MASK if value.get_secret_value() else ""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return _CREDENTIALS.sub(f"://{_MASK}@", str(value))


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
