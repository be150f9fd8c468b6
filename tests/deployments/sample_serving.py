"""`python -m sample_serving serve|deploy POOL`: the product's deployments without our runner."""

import asyncio
import sys

import prefect

from batching.settings import Settings
from deployments.schedules import build_schedules
from deployments.scheduling import as_deployment

NAMES = ("ingest", "submit", "track", "deliver", "upkeep")


def main() -> None:
    schedules = build_schedules(Settings(), dict.fromkeys(NAMES, lambda: True))
    if sys.argv[1] == "serve":
        prefect.serve(*[as_deployment(schedule) for schedule in schedules])
        return
    for schedule in schedules:
        asyncio.run(as_deployment(schedule, work_pool_name=sys.argv[2]).aapply())


if __name__ == "__main__":
    main()
