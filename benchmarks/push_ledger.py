"""Results that wait in a ledger to be pushed, and the process that pushes them."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks import sample_data
from benchmarks.processes import Spent, in_a_fresh_process

if TYPE_CHECKING:
    from storage.batches import Batch
    from tasks.resources import Resources

RESULT_BYTES = 1_024
_REQUEST_BYTES = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Results that wait for one destination."""

    destination: str
    """As in a request line: JSON."""
    results: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """What one run of the push step did and took."""

    delivered: int
    spent: Spent
    """Wall time is from the call to the last record in the ledger."""
    seconds_to: dict[str, float]
    """By target: from the call to its last attempt."""
    megabytes_before: float
    """The process's peak before the step: libraries and an open ledger."""

    @property
    def rate(self) -> float:
        """Results a second, each sent, answered and recorded."""
        return self.delivered / self.spent.wall_seconds

    @property
    def microseconds_each(self) -> float:
        """CPU time of the process for one result."""
        return self.spent.cpu_seconds / self.delivered * 1e6


@contextmanager
def results_waiting(
    waiting: Sequence[Waiting],
    *,
    named: str = "",
    rabbitmq_url: str | None = None,
    result_bytes: int = RESULT_BYTES,
) -> Iterator[Callable[[], Pushed]]:
    """Give what pushes these results, each time from the same ledger, in a process of its own.

    `named` is the text of destinations.toml. The results were taken in as requests, claimed and
    collected by the pipeline's own steps.
    """
    with tempfile.TemporaryDirectory(prefix="obm-push-") as text:
        folder = Path(text)
        (folder / "filled").mkdir()
        (folder / "filled" / "destinations.toml").write_text(named, encoding="utf-8")
        in_a_fresh_process(partial(_fill, folder / "filled", waiting, rabbitmq_url, result_bytes))

        def push() -> Pushed:
            data = folder / "data"
            shutil.copytree(folder / "filled", data)
            try:
                return _push(data, rabbitmq_url)
            finally:
                shutil.rmtree(data)

        yield push


@contextmanager
def resources_of(data: Path, rabbitmq_url: str | None) -> Iterator["Resources"]:
    """Give the resources of a data directory to every step of this process."""
    from deployments.memory import keep_memory_flat  # noqa: PLC0415 - before the heavy imports

    keep_memory_flat()
    from batching.settings import Settings  # noqa: PLC0415 - see above
    from tasks.resources import Resources, using  # noqa: PLC0415 - imports prefect

    settings = Settings(
        # Any server but OpenAI's own: no limits are known of it, and nobody calls it.
        data_dir=data, openai_base_url="http://127.0.0.1:9/v1",
        webhook_allow_private="127.0.0.0/8", rabbitmq_url=rabbitmq_url,
    )  # fmt: skip
    chosen = Resources(settings, close_at_once=True)
    try:
        with using(chosen):
            yield chosen
    finally:
        chosen.close()


def _fill(
    data: Path, waiting: Sequence[Waiting], rabbitmq_url: str | None, result_bytes: int
) -> None:
    with resources_of(data, rabbitmq_url) as chosen:
        from tasks.staging import (  # noqa: PLC0415 - imports prefect
            claim_files,
            sources_to_take_in,
            take_in_source,
        )

        chosen.directory.create()
        for number, each in enumerate(waiting):
            sample_data.write_requests(
                chosen.directory.inbox / f"bench-{number}.jsonl", each.results,
                line_bytes=_REQUEST_BYTES, destination=each.destination,
            )  # fmt: skip
        claim_files()
        for source_id in sources_to_take_in():
            take_in_source.fn(source_id)
        _answer_all(chosen, sum(each.results for each in waiting), result_bytes)


def _answer_all(chosen: "Resources", requests: int, result_bytes: int) -> None:
    from tasks.assembly import next_batch  # noqa: PLC0415 - imports prefect

    answered = 0
    while (batch := next_batch()) is not None:
        answered += _answer(chosen, batch, result_bytes)
    if answered != requests:
        raise RuntimeError(f"{answered:,} of {requests:,} requests have a result")


def _answer(chosen: "Resources", batch: "Batch", result_bytes: int) -> int:
    from benchmarks.batch_work import bring_to_its_end  # noqa: PLC0415 - late, as all of storage
    from storage.answer_files import OUTPUT  # noqa: PLC0415 - see above
    from storage.batch_files import output_path  # noqa: PLC0415 - see above
    from storage.results import collect_batch  # noqa: PLC0415 - see above

    ended = bring_to_its_end(chosen.ledger, batch)
    path = output_path(chosen.directory, batch.batch_id)
    path.parent.mkdir(exist_ok=True)
    sample_data.write_results(path, _wire_ids(chosen, batch.batch_id), line_bytes=result_bytes)
    return collect_batch(
        chosen.ledger, ended, {OUTPUT: path}, installation=chosen.installation,
        complete=True, limits=chosen.retry_limits, cost_of=chosen.cost_of,
    ).succeeded  # fmt: skip


def _wire_ids(chosen: "Resources", batch_id: int) -> list[str]:
    from batching.wire import RequestRef, encode_wire_id  # noqa: PLC0415 - see above

    with chosen.ledger.transaction() as reader:
        rows = reader.rows(
            "SELECT segment, row_index AS row FROM requests WHERE batch_id = ?", batch_id
        )
    return [encode_wire_id(chosen.installation, RequestRef(**row)) for row in rows]


def _push(data: Path, rabbitmq_url: str | None) -> Pushed:
    command = [sys.executable, "-m", "benchmarks.push_process", str(data)]
    command += [rabbitmq_url] if rabbitmq_url else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600)
    return msgspec.json.decode(done.stdout, type=Pushed)
