"""The list of deployments: the five flows, how often they run, and what each one is for.

The same list serves our own runner, `prefect.serve` and a work pool.
"""

from collections.abc import Callable, Mapping

from batching.settings import Settings
from deployments.scheduling import Schedule
from flows.delivery import deliver
from flows.ingestion import ingest
from flows.submission import submit
from flows.tracking import track
from flows.upkeep import upkeep


def build_schedules(
    settings: Settings, has_work: Mapping[str, Callable[[], bool]]
) -> tuple[Schedule, ...]:
    """Return every deployment; `has_work` tells for each name whether a run would do anything."""
    return (
        Schedule(
            flow=ingest,
            name="ingest",
            interval_seconds=settings.interval_ingest_seconds,
            has_work=has_work["ingest"],
            description="Takes in the request files of `staging/inbox`, line by line.",
        ),
        Schedule(
            flow=submit,
            name="submit",
            interval_seconds=settings.interval_submit_seconds,
            has_work=has_work["submit"],
            description="Makes batches of waiting requests and creates them at the provider.",
        ),
        Schedule(
            flow=track,
            name="track",
            interval_seconds=settings.interval_track_seconds,
            has_work=has_work["track"],
            description="Asks how the batches are doing and collects those that have ended.",
        ),
        Schedule(
            flow=deliver,
            name="deliver",
            interval_seconds=settings.interval_deliver_seconds,
            has_work=has_work["deliver"],
            description="Brings results to their destinations and completes jobs.",
        ),
        Schedule(
            flow=upkeep,
            name="upkeep",
            interval_seconds=settings.interval_upkeep_seconds,
            has_work=has_work["upkeep"],
            description="Backs up the ledger and removes what is no longer needed.",
        ),
    )
