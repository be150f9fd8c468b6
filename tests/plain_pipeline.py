"""The steps of the flows in their order, without Prefect around them; also as a process."""

import sys
import threading
import time
from collections.abc import Callable

from batching.settings import Settings
from deployments.until_idle import Cycles
from tasks import (
    assembly,
    capacity,
    collection,
    creation,
    delivery,
    polling,
    pushing,
    received,
    staging,
    sweeping,
    upload,
)


def plain_flows() -> dict[str, Callable[[], object]]:
    """Return the steps of each flow in its order, without Prefect around them."""
    return {"ingest": _ingest, "submit": _submit, "track": _track, "deliver": _deliver}


def _ingest() -> None:
    staging.reclaim_grown_files()
    staging.claim_files()
    received.take_in_received.fn()
    for source_id in staging.sources_to_take_in():
        staging.take_in_source.fn(source_id)


def _submit() -> None:
    capacity.probe_account()
    capacity.bring_unsent_requests()
    sweeping.end_submission_lock.fn()
    creation.settle_creates()
    for batch in assembly.unfinished_batches():
        _send(batch.batch_id)
    while (claimed := assembly.next_batch()) is not None:
        _send(claimed.batch_id)


def _send(batch_id: int) -> None:
    assembly.assemble_batch.fn(batch_id)
    if upload.upload_batch.fn(batch_id):
        creation.create_batch.fn(batch_id)


def _track() -> None:
    polling.poll_batches.fn()
    for batch in collection.batches_to_collect():
        collection.collect.fn(batch.batch_id)


def _deliver() -> None:
    delivery.answer_without_provider.fn()
    delivery.deliver_to_files.fn()
    pushing.push_results()
    delivery.complete_jobs.fn()


def main() -> int:
    """Run until idle with the settings of the environment, as `obm run` does.

    With `--forever` it begins anew each time, as the pipeline does.
    """
    while True:
        cycles = Cycles(Settings(_env_file=None), threading.Event(), timeout_seconds=60)
        code = cycles.run(plain_flows())
        if "--forever" not in sys.argv:
            return code
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
