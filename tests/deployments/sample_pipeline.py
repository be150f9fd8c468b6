"""`python -m sample_pipeline pipeline|up`: the real roles with the sample flows.

SAMPLE_SCHEDULES names them: `quick=2,held=60` (seconds); a trailing `!` means: has no work.
"""

import logging
import os
import sys

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.pipeline import Work, run_pipeline
from deployments.roles import run_roles
from storage.health import HealthFile


def load_work(_settings: Settings, _health: HealthFile) -> Work:
    import sample_flows  # noqa: PLC0415 - imports prefect, whose environment is set by now

    from deployments.scheduling import Schedule  # noqa: PLC0415 - imports prefect

    schedules = []
    for part in os.environ["SAMPLE_SCHEDULES"].split(","):
        name, _, seconds = part.rstrip("!").partition("=")
        is_idle = part.endswith("!")
        schedules.append(
            Schedule(
                flow=getattr(sample_flows, name),
                name=name,
                interval_seconds=float(seconds),
                has_work=lambda is_idle=is_idle: not is_idle,
            )
        )
    return Work(schedules=tuple(schedules))


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        if sys.argv[1] == "up":
            return run_roles(Settings(), (sys.executable, "-m", "sample_pipeline", "pipeline"))
        run_pipeline(Settings(), load_work)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
