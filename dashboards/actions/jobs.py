"""What operators do to jobs."""

from collections.abc import Callable, Mapping
from typing import Final

from batching.errors import BadInput
from dashboards.performing import Deed, Outcome
from dashboards.wording import count_of
from storage.jobs import cancel_job, find_job, flush, retry_job, set_job_paused
from storage.ledger import Ledger
from storage.redelivery import Selection, redeliver


def pause(job: str) -> Deed:
    """Return the deed of holding back what waits of a job."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        changed = set_job_paused(_known(ledger, job), job, paused=True, actor=actor)
        if not changed:
            return Outcome(text=f"{job} was paused already.", tone="info")
        return Outcome(text=f"{job} is paused: what waits stays here until it is resumed.")

    return deed


def resume(job: str) -> Deed:
    """Return the deed of releasing what waits of a job."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        changed = set_job_paused(_known(ledger, job), job, paused=False, actor=actor)
        return Outcome(text=f"{job} goes on." if changed else f"{job} was not paused.")

    return deed


def send_now(job: str) -> Deed:
    """Return the deed of sending what waits of a job without filling up batches."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        waiting = flush(_known(ledger, job), job, actor=actor)
        if not waiting:
            return Outcome(text=f"Nothing of {job} waits any more.", tone="info")
        return Outcome(text=f"{count_of(waiting, 'request')} of {job} go now.")

    return deed


def cancel(job: str) -> Deed:
    """Return the deed of cancelling what has no result yet; paid results still arrive."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        at_once, later = cancel_job(_known(ledger, job), job, actor=actor)
        if not at_once + later:
            return Outcome(text=f"Nothing of {job} is left to cancel.", tone="info")
        text = f"{count_of(at_once, 'request')} of {job} cancelled."
        if later:
            text += f" {later:,} more end with their batch, unless their result comes first."
        return Outcome(text=text)

    return deed


def redeliver_failed(job: str) -> Deed:
    """Return the deed of bringing the dead letters of a job again."""
    return _redeliver(job, failed_only=True)


def redeliver_all(job: str) -> Deed:
    """Return the deed of bringing every pushed result of a job again."""
    return _redeliver(job, failed_only=False)


def retry(job: str) -> Deed:
    """Return the deed of sending the failed requests of a job to the provider again."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        count = retry_job(_known(ledger, job), job, cancelled_too=False, actor=actor)
        if not count:
            return Outcome(text=f"No request of {job} has failed.", tone="info")
        return Outcome(text=f"{count_of(count, 'failed request')} of {job} wait to be sent again.")

    return deed


BY_NAME: Final[Mapping[str, Callable[[str], Deed]]] = {
    "pause": pause,
    "resume": resume,
    "send": send_now,
    "cancel": cancel,
    "redeliver": redeliver_failed,
    "redeliver-all": redeliver_all,
    "retry-failed": retry,
}
"""What the buttons of jobs do, by their `data-act`."""


def _redeliver(job: str, *, failed_only: bool) -> Deed:
    def deed(ledger: Ledger, actor: str) -> Outcome:
        selection = Selection(job=job)
        count = redeliver(_known(ledger, job), selection, failed_only=failed_only, actor=actor)
        if not count:
            return Outcome(text=f"Nothing of {job} is there to redeliver.", tone="info")
        return Outcome(text=f"{count_of(count, 'result')} of {job} on the way again.")

    return deed


def _known(ledger: Ledger, job: str) -> Ledger:
    with ledger.transaction() as reader:
        if find_job(reader, job) is None:
            raise BadInput(f"no job is called {job!r} any more")
    return ledger
