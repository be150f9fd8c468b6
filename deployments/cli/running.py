"""Commands that run for a while: the pipeline in its forms, and the simulator."""

import logging
from pathlib import Path

from batching.errors import BadInput, ConfigurationError
from batching.settings import Settings
from deployments.cli.logs import begin_logging
from deployments.cli.surroundings import load_settings
from deployments.memory import keep_memory_flat
from simulator.options import SimulatorOptions, parse_speed
from simulator.scenarios import parse_scenario

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def run_up() -> int:
    """Run every role until it is stopped; return the exit code."""
    from deployments.roles import run_roles  # noqa: PLC0415 - `obm simulate` needs none of it

    return run_roles(_settings_for_work())


def run_pipeline_alone() -> int:
    """Run the pipeline role in this process until it is stopped; return the exit code."""
    keep_memory_flat()  # before the imports: Polars and DuckDB read it while they load
    from deployments.pipeline import run_pipeline  # noqa: PLC0415 - see above
    from deployments.work import load_work  # noqa: PLC0415 - see above

    return run_pipeline(_settings_for_work(), load_work)


def run_web_alone(only: str | None = None) -> int:
    """Run the web role, or one part of it, until it is stopped; return the exit code."""
    keep_memory_flat()  # before the imports: Polars and DuckDB read it while they load
    settings = load_settings()
    _begin_logging(settings)
    from deployments.web import Part, run_web  # noqa: PLC0415 - the other commands need none of it

    return run_web(settings, None if only is None else Part(only))


def run_to_the_end(*, timeout_seconds: float | None, poll_interval_seconds: float) -> int:
    """Work until nothing is left to do; return the exit code."""
    keep_memory_flat()  # before the imports: Polars and DuckDB read it while they load
    from deployments.until_idle import run_until_idle  # noqa: PLC0415 - see above

    return run_until_idle(
        _settings_for_work(),
        timeout_seconds=timeout_seconds,
        poll_interval_seconds=poll_interval_seconds,
    )


def _settings_for_work() -> Settings:
    settings = load_settings()
    key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    if not key:
        raise ConfigurationError(_missing_key(settings))
    _begin_logging(settings)
    return settings


def _begin_logging(settings: Settings) -> None:
    if settings.log_level.upper() not in _LEVELS:
        raise ConfigurationError(
            f"OBM_LOG_LEVEL is {settings.log_level!r}: set it to one of {', '.join(_LEVELS)}"
        )
    begin_logging(settings.log_level)


def _missing_key(settings: Settings) -> str:
    if settings.is_openai:
        return (
            "OPENAI_API_KEY is not set: put the key of your account into the environment or into "
            ".env; `obm demo` shows everything without a key"
        )
    return (
        f"OPENAI_API_KEY is not set: {settings.openai_base_url} may need one; if it does not, set "
        "it to any word"
    )


def run_simulation(
    *,
    host: str,
    port: int,
    folder: Path,
    speed: str,
    scenarios: list[str],
    api_key: str | None,
    accounts_by_key: bool,
) -> None:
    """Serve OpenAI's Files and Batch API from this machine until it is stopped."""
    from simulator.server import run_simulator  # noqa: PLC0415 - the other commands need none of it

    logging.basicConfig(level=logging.WARNING)
    try:
        phase_seconds = parse_speed(speed)
        for scenario in scenarios:
            parse_scenario(scenario)
    except ValueError as error:
        raise BadInput(f"{error}; `obm simulate --list-scenarios` describes them all") from None
    run_simulator(
        SimulatorOptions(
            directory=folder,
            host=host,
            port=port,
            phase_seconds=phase_seconds,
            scenarios=tuple(scenarios),
            api_key=api_key,
            accounts_by_key=accounts_by_key,
        )
    )
