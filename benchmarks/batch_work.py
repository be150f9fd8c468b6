"""Building the input file of a batch, and bringing its results into the outbox."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from batching.provider import read_batch
from batching.settings import Settings
from benchmarks import floors, sample_data
from benchmarks.figures import Figure
from benchmarks.processes import Spent, in_a_fresh_process, spent_by
from storage.answer_files import OUTPUT
from storage.batch_files import input_path, output_path
from storage.batches import Batch, batch_of, mark_submitted, mark_submitting, mark_uploaded
from storage.ledger import Ledger
from storage.polls import mark_ended
from storage.results import collect_batch

_REQUESTS = 50_000
_REQUEST_BYTES = 1_024
_RESULT_BYTES = 3_600
_JOB = "bench"


def measure_building() -> list[Figure]:
    """Return how fast 50,000 requests become the input file of a batch."""
    spent, floor, size = in_a_fresh_process(_build)
    megabytes = size / 1e6
    return [
        Figure(
            measure="batch building", name=name, value=megabytes / value, unit="MB/s",
            target=target, more_is_better=True, floor=megabytes / least,
        )
        for name, value, least, target in (
            ("by wall time", spent.wall_seconds, floor.wall_seconds, 100),
            ("by CPU time", spent.cpu_seconds, floor.cpu_seconds, None),
        )
    ]  # fmt: skip


def measure_collecting() -> list[Figure]:
    """Return how long a downloaded output file takes until its results are in the outbox."""
    spent, floor, size = in_a_fresh_process(_collect)
    measure = f"results, {_REQUESTS:,} lines / {size / 1e6:.0f} MB"
    return [
        Figure(
            measure=measure, name=name, value=value, unit=unit, target=target, floor=least
        )
        for name, value, unit, target, least in (
            ("parsed, merged, in the outbox", spent.wall_seconds, "s", 5, floor.wall_seconds),
            ("its cost", spent.cpu_seconds, "CPU s", None, floor.cpu_seconds),
        )
    ]  # fmt: skip


def _build() -> tuple[Spent, Spent, int]:
    with _claimed_batch() as batch:
        from tasks.assembly import assemble_batch  # noqa: PLC0415 - imports prefect
        from tasks.resources import resources  # noqa: PLC0415 - imports prefect

        spent = spent_by(partial(assemble_batch.fn, batch.batch_id))
        path = input_path(resources().directory, batch.batch_id)
        return spent, floors.copying([path]), path.stat().st_size


def _collect() -> tuple[Spent, Spent, int]:
    with _claimed_batch() as batch:
        from tasks.delivery import deliver_to_files  # noqa: PLC0415 - imports prefect
        from tasks.resources import resources  # noqa: PLC0415 - imports prefect

        chosen = resources()
        ended = bring_to_its_end(chosen.ledger, batch)
        path = output_path(chosen.directory, batch.batch_id)
        path.parent.mkdir(exist_ok=True)
        wire_ids = (f"{chosen.installation}-1-{row}" for row in range(_REQUESTS))
        sample_data.write_results(path, wire_ids, line_bytes=_RESULT_BYTES)

        def collect_and_deliver() -> None:
            collected = collect_batch(
                chosen.ledger, ended, {OUTPUT: path}, installation=chosen.installation,
                complete=True, limits=chosen.retry_limits, cost_of=chosen.cost_of,
            )  # fmt: skip
            delivered = deliver_to_files.fn()
            if (collected.succeeded, sum(delivered.values())) != (_REQUESTS, _REQUESTS):
                raise RuntimeError(f"not everything arrived: {collected}, {delivered}")

        spent = spent_by(collect_and_deliver)
        return spent, floors.copying_and_decoding([], [path]), path.stat().st_size


@contextmanager
def _claimed_batch() -> Iterator[Batch]:
    """Give a batch of requests that were taken in and claimed by the pipeline's own steps."""
    from deployments.memory import keep_memory_flat  # noqa: PLC0415 - before the heavy imports

    keep_memory_flat()
    from tasks.assembly import next_batch  # noqa: PLC0415 - imports prefect
    from tasks.resources import Resources, using  # noqa: PLC0415 - imports prefect
    from tasks.staging import (  # noqa: PLC0415 - imports prefect
        claim_files,
        sources_to_take_in,
        take_in_source,
    )

    with tempfile.TemporaryDirectory(prefix="obm-bench-") as folder:
        # Any server but OpenAI's own: no limits are known of it, and nobody calls it.
        settings = Settings(data_dir=Path(folder), openai_base_url="http://127.0.0.1:9/v1")
        chosen = Resources(settings, close_at_once=True)
        chosen.directory.create()
        sample_data.write_requests(
            chosen.directory.inbox / f"{_JOB}.jsonl", _REQUESTS, line_bytes=_REQUEST_BYTES
        )
        with using(chosen):
            claim_files()
            for source_id in sources_to_take_in():
                take_in_source.fn(source_id)
            batch = next_batch()
            if batch is None or batch.requests != _REQUESTS:
                raise RuntimeError(f"not everything was claimed: {batch}")
            yield batch


def bring_to_its_end(ledger: Ledger, batch: Batch) -> Batch:
    """Record what the provider would have said up to the batch's end."""
    mark_uploaded(ledger, batch, input_file_id=f"file-input-{batch.batch_id}")
    mark_submitting(ledger, batch.batch_id)
    provider_id = f"batch_{batch.batch_id}"
    mark_submitted(ledger, batch.batch_id, provider_id=provider_id, status="validating")
    submitted = batch_of(ledger, batch.batch_id)
    output_file_id = f"file-output-{batch.batch_id}"
    said = {"id": provider_id, "status": "completed", "output_file_id": output_file_id}
    mark_ended(ledger, submitted, read_batch(said))
    return batch_of(ledger, batch.batch_id)
