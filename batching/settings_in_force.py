"""Every setting as it may be shown: its value, where it comes from, what it is; no secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import AliasChoices, SecretStr
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from batching.settings import Settings

MASK: Final = "********"
_CREDENTIALS: Final = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingInForce:
    """One setting with its value as it may be shown."""

    variable: str
    value: str
    source: str
    """environment, .env or default."""
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NamesSet:
    """The variables that are set, in capitals: settings are found in any case."""

    environment: frozenset[str]
    env_file: frozenset[str]

    @classmethod
    def now(cls) -> "NamesSet":
        """Return what is set for this process, and in the `.env` of its folder."""
        return cls(
            environment=_names(EnvSettingsSource(Settings).env_vars),
            env_file=_names(DotEnvSettingsSource(Settings).env_vars),
        )

    def source_of(self, variable: str) -> str:
        """Return where the value of a setting comes from."""
        if variable in self.environment:
            return "environment"
        return ".env" if variable in self.env_file else "default"


def settings_in_force(settings: Settings, names: NamesSet) -> list[SettingInForce]:
    """Return every setting, in the order in which they are declared."""
    return [
        SettingInForce(
            variable=variable_of(name),
            value=_shown(getattr(settings, name)),
            source=names.source_of(variable_of(name)),
            description=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def variable_of(name: str) -> str:
    """Return the environment variable of a field of the settings."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else str(alias)


def _names(values: Mapping[str, object]) -> frozenset[str]:
    return frozenset(name.upper() for name in values)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return _CREDENTIALS.sub(f"://{MASK}@", str(value))
