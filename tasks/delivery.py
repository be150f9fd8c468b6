"""Delivering results to the outbox and completing jobs."""

import logging

from batching.errors import BadInput
from batching.stopping import check_stop
from storage.completion import complete_job, jobs_to_complete
from storage.outbox import Part, deliver_part, pending_parts, postpone_part
from storage.results import own_results_waiting, write_own_results_of_requests
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)

PARTS_A_LOOK = 500


@step(name="write own results")
def answer_without_provider() -> int:
    """Write results for requests that ended without a provider line; return how many."""
    written = 0
    while fresh := write_own_results_of_requests(resources().ledger):
        check_stop()
        written += fresh
    return written


@step(name="deliver to files")
def deliver_to_files() -> dict[str, int]:
    """Append every waiting part to its job's results; return results delivered by job."""
    delivered: dict[str, int] = {}
    while True:
        with resources().ledger.transaction() as reader:
            parts = pending_parts(reader, most=PARTS_A_LOOK)
        if not parts:
            return delivered
        for part in parts:
            check_stop()
            if _deliver(part):
                delivered[part.job] = delivered.get(part.job, 0) + part.rows


def _deliver(part: Part) -> bool:
    """Deliver one part; what stands in its way does not stand in the way of others."""
    try:
        deliver_part(resources().ledger, part)
    except BadInput as error:
        logger.warning("part not delivered", extra={"job": part.job, "problem": str(error)})
        postpone_part(resources().ledger, part, problem=str(error))
        return False
    return True


@step(name="complete jobs")
def complete_jobs() -> list[str]:
    """Sort and sum up every job that has all its results; return their names."""
    with resources().ledger.transaction() as reader:
        ready = jobs_to_complete(reader)
    completed: list[str] = []
    problems: list[str] = []
    for job in ready:
        check_stop()
        try:
            if complete_job(resources().ledger, job_id=job["job_id"], slug=job["slug"]):
                completed.append(job["name"])
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("; ".join(problems))
    return completed


def file_work_waits() -> bool:
    """Return whether results have come that are to be written or delivered to files."""
    with resources().ledger.transaction() as reader:
        return bool(pending_parts(reader, most=1) or own_results_waiting(reader))
