"""Plain functions that make requests, ledgers, batches and answers for tests."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from batching.failure_policy import RetryLimits
from batching.jobs import JobSettings
from batching.lifecycle import BatchState
from batching.planning import BatchLimits, TokenRates
from batching.provider import read_batch
from batching.requests import ReadingRules, ReadRequest, read_request
from batching.token_limits import LimitSource, TokenLimit
from storage.answer_files import ERROR, OUTPUT
from storage.batch_files import error_path, output_path, write_batch_files
from storage.batches import Batch, batch_of, move, read_batch_row
from storage.claims import claim_next
from storage.directory import DataDirectory
from storage.lanes import SubmissionPolicy
from storage.ledger import Ledger, now
from storage.outbox import deliver_part, pending_parts
from storage.repeats import find_repeats
from storage.results import Collected, collect_batch
from storage.segments import SegmentWriter, WrittenSegment
from storage.sources import (
    JobChoice,
    SourceRecord,
    choose_job,
    next_segment,
    record_source,
)

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MODEL = "gpt-4o-mini"
ACCOUNT = "default@http://provider"
INSTALLATION = "cafe0123"
RULES = ReadingRules()
RETRY_LIMITS = RetryLimits(attempts=3, returns=10)


def no_cost(_model: str, _usage: pl.DataFrame) -> Decimal | None:
    """Return that no price is known."""
    return None


def chat_line(custom_id: str, *, model: str = MODEL, text: str = "hello", **body: Any) -> bytes:
    """Return a request line for the chat endpoint."""
    content = {"model": model, "messages": [{"role": "user", "content": text}], **body}
    return request_line(custom_id, CHAT, json.dumps(content).encode())


def embedding_line(custom_id: str, *, inputs: int = 1, model: str = "small") -> bytes:
    """Return a request line for the embeddings endpoint with so many inputs."""
    content = {"model": model, "input": [f"text {number}" for number in range(inputs)]}
    return request_line(custom_id, EMBEDDINGS, json.dumps(content).encode())


def request_line(custom_id: str, url: str, body: bytes) -> bytes:
    """Return a request line around the bytes of a body."""
    head = f'{{"custom_id":{json.dumps(custom_id)},"method":"POST","url":"{url}","body":'
    return head.encode() + body + b"}"


def chat_lines(count: int, *, prefix: str = "id", model: str = MODEL) -> list[bytes]:
    """Return so many small chat requests, `<prefix>-0`, `<prefix>-1`, …."""
    return [chat_line(f"{prefix}-{number}", model=model) for number in range(count)]


def read_lines(lines: Iterable[bytes]) -> list[ReadRequest]:
    """Return valid request lines as requests; fail for one that is refused."""
    found = [read_request(line, RULES) for line in lines]
    assert all(isinstance(request, ReadRequest) for request in found), found
    return [request for request in found if isinstance(request, ReadRequest)]


def write_segments(
    directory: DataDirectory,
    requests: Sequence[ReadRequest],
    *,
    first_segment: int,
    source_id: str,
    job: str = "job",
    rows_a_segment: int = 1_000_000,
    accepted_at: datetime | None = None,
) -> tuple[WrittenSegment, ...]:
    """Write the requests to real segments."""
    with SegmentWriter(
        directory.segments,
        first_segment=first_segment,
        accepted_at=accepted_at or now(),
        source_ids=[source_id],
        rows_a_segment=rows_a_segment,
    ) as writer:
        step = min(rows_a_segment, 10_000)
        for first in range(0, len(requests), step):
            part = requests[first : first + step]
            writer.add(job, range(first + 1, first + 1 + len(part)), part)
        return writer.finish()


def policy(**changes: Any) -> SubmissionPolicy:
    """Return a policy under which everything that is pending goes at once."""
    known: dict[str, Any] = {
        "account": ACCOUNT,
        "limits": BatchLimits(requests=50_000, bytes=190_000_000, embedding_inputs=50_000),
        "max_wait_seconds": 3600.0,
        "token_limit_of": no_token_limit,
        "rates_of": lambda _model: None,
        "max_spend_per_day_usd": None,
        "longest_pause_seconds": 3600.0,
        "close_at_once": True,
    }
    return SubmissionPolicy(**known | changes)


def no_token_limit(_model: str, learned: int | None) -> TokenLimit:
    """Return no limit, or what was learned."""
    source = LimitSource.NONE if learned is None else LimitSource.LEARNED
    return TokenLimit(tokens=learned, source=source)


def token_limit(tokens: int, *, certain: bool = True) -> Callable[[str, int | None], TokenLimit]:
    """Return a rule by which every model has this limit."""
    source = LimitSource.OVERRIDE if certain else LimitSource.TABLE
    return lambda _model, _learned: TokenLimit(tokens=tokens, source=source)


def rates(input_usd: str, output_usd: str = "0") -> Callable[[str], TokenRates]:
    """Return a rule by which a token of every model costs so much."""
    known = TokenRates(input_usd=Decimal(input_usd), output_usd=Decimal(output_usd))
    return lambda _model: known


def fill(disk: Path, *, free_bytes: int) -> None:
    """Leave only so many bytes free on a small disk."""
    empty(disk)
    found = os.statvfs(disk)
    free = found.f_bavail * found.f_frsize
    (disk / "ballast").write_bytes(b"x" * max(0, free - free_bytes))


def empty(disk: Path) -> None:
    """Take away what `fill` has put there."""
    (disk / "ballast").unlink(missing_ok=True)


@dataclass
class Store:
    """A data directory with its ledger, and the whole way of a request through it."""

    directory: DataDirectory
    ledger: Ledger
    account: str = ACCOUNT

    @classmethod
    def at(cls, root: Path) -> "Store":
        """Return a fresh store in the folder."""
        directory = DataDirectory(root)
        directory.create()
        return cls(directory, Ledger.open(directory))

    def take_in(
        self,
        lines: Sequence[bytes],
        *,
        name: str = "job",
        source_id: str = "s1",
        part: int = 1,
        settings: JobSettings | None = None,
        rows_a_segment: int = 1_000_000,
        accepted_at: datetime | None = None,
    ) -> int:
        """Take a source in as ingestion does; return the id of its job."""
        chosen = settings or JobSettings()
        requests = read_lines(lines)
        job = choose_job(self.ledger, stem=name, settings=chosen, source_id=source_id)
        segments = write_segments(
            self.directory,
            requests,
            first_segment=next_segment(self.ledger, self.directory.segments),
            source_id=source_id,
            job=job.name,
            rows_a_segment=rows_a_segment,
            accepted_at=accepted_at,
        )
        return self.record(
            requests, segments, job=job, settings=chosen, source_id=source_id, part=part, name=name
        )

    def record(
        self,
        requests: Sequence[ReadRequest],
        segments: Sequence[WrittenSegment],
        *,
        job: JobChoice,
        settings: JobSettings | None = None,
        source_id: str = "s1",
        part: int = 1,
        name: str = "job",
    ) -> int:
        """Record requests that lie in segments; return the id of their job."""
        hashes = np.array([request.id_hash for request in requests], np.uint64)
        repeats = find_repeats(self.ledger, segments, id_hashes=hashes, job_id=job.job_id)
        return record_source(
            self.ledger,
            SourceRecord(
                source_id=source_id, part=part, name=name, content_hash=f"hash of {source_id}",
                start_offset=0, end_offset=100, end_line=len(requests),
                accepted=len(requests), rejected=0,
            ),
            job=job, settings=settings or JobSettings(), account=self.account,
            segments=segments, repeats=repeats,
        )  # fmt: skip

    def claim(self, **changes: Any) -> Batch:
        """Claim the next batch; fail if there is none."""
        batch_id = claim_next(self.ledger, policy(**{"account": self.account} | changes))
        assert batch_id is not None
        return batch_of(self.ledger, batch_id)

    def bring_to(self, batch: Batch, state: BatchState, *, status: str = "completed") -> Batch:
        """Lead a batch along the usual way up to this state, in one transaction."""
        number = batch.batch_id
        way: dict[BatchState, dict[str, object]] = {
            BatchState.UPLOADED: {"input_file_id": f"file-in-{number}", "uploaded_at": now()},
            BatchState.SUBMITTING: {"intent_at": now(), "create_attempt": 1},
            BatchState.SUBMITTED: {
                "provider_id": f"batch_{number}",
                "provider_status": "validating",
                "submitted_at": now(),
            },
            BatchState.ENDED: {
                "provider_status": status,
                "output_file_id": f"file-out-{number}",
                "error_file_id": f"file-err-{number}",
                "ended_at": now(),
            },
        }
        with self.ledger.transaction() as transaction:
            for target, columns in way.items():
                if batch.state is not state:
                    move(transaction, number, target, **columns)
                    batch = read_batch_row(transaction, number)
        assert batch.state is state
        return batch

    def ended(self, *, status: str = "completed", **changes: Any) -> Batch:
        """Claim a batch and lead it to its end."""
        return self.bring_to(self.claim(**changes), BatchState.ENDED, status=status)

    def ended_of(self, batch: Batch) -> Batch:
        """Lead a claimed batch to its end."""
        return self.bring_to(batch, BatchState.ENDED)

    def write_input(self, batch: Batch) -> Path:
        """Write the batch's input file."""
        return write_batch_files(
            self.ledger, installation=INSTALLATION, batch_id=batch.batch_id, endpoint=batch.endpoint
        )

    def wire_ids(self, batch: Batch) -> list[str]:
        """Return the wire ids of the batch's requests, in order."""
        rows = self.rows(
            "SELECT segment, row_index FROM requests WHERE batch_id = ? "
            "ORDER BY segment, row_index",
            batch.batch_id,
        )
        return [f"{INSTALLATION}-{row['segment']}-{row['row_index']}" for row in rows]

    def collect(
        self,
        batch: Batch,
        output: Iterable[bytes] | None = None,
        error: Iterable[bytes] | None = None,
        *,
        complete: bool = True,
        limits: RetryLimits = RETRY_LIMITS,
        cost_of: Callable[[str, pl.DataFrame], Decimal | None] = no_cost,
    ) -> Collected:
        """Collect an ended batch from these lines of its output and error file."""
        files: dict[int, Path] = {}
        for kind, lines, path in (
            (OUTPUT, output, output_path(self.directory, batch.batch_id)),
            (ERROR, error, error_path(self.directory, batch.batch_id)),
        ):
            if lines is not None:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"".join(line + b"\n" for line in lines))
                files[kind] = path
        return self.collect_files(batch, files, complete=complete, limits=limits, cost_of=cost_of)

    def collect_files(
        self,
        batch: Batch,
        files: dict[int, Path],
        *,
        complete: bool = True,
        limits: RetryLimits = RETRY_LIMITS,
        cost_of: Callable[[str, pl.DataFrame], Decimal | None] = no_cost,
    ) -> Collected:
        """Collect an ended batch from the files as they lie there."""
        return collect_batch(
            self.ledger,
            batch,
            files,
            installation=INSTALLATION,
            complete=complete,
            limits=limits,
            cost_of=cost_of,
        )

    def answer_all(self, batch: Batch) -> Collected:
        """Collect an ended batch of which every request succeeded, in reversed order."""
        return self.collect(batch, [success_line(wire) for wire in reversed(self.wire_ids(batch))])

    def deliver(self) -> int:
        """Deliver everything that waits; return how many parts that were."""
        with self.ledger.transaction() as reader:
            parts = pending_parts(reader, most=1_000)
        for part in parts:
            deliver_part(self.ledger, part)
        return len(parts)

    def outbox(self, path: str) -> list[bytes]:
        """Return the lines of a file of the outbox."""
        return (self.directory.outbox / path).read_bytes().splitlines()

    def outbox_text(self, path: str) -> str:
        """Return a file of the outbox."""
        return (self.directory.outbox / path).read_text()

    def outbox_ids(self, path: str) -> list[str]:
        """Return the custom_ids in a file of the outbox."""
        return [json.loads(line)["custom_id"] for line in self.outbox(path)]

    def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Return what a query says about the ledger."""
        with self.ledger.transaction() as reader:
            return reader.rows(sql, *parameters)

    def value(self, sql: str, *parameters: object) -> Any:
        """Return the first value of a query."""
        with self.ledger.transaction() as reader:
            return reader.value(sql, *parameters)

    def run(self, sql: str, *parameters: object) -> int:
        """Change the ledger by hand; return how many rows that touched."""
        with self.ledger.transaction() as transaction:
            return transaction.execute(sql, *parameters)

    def states(self) -> dict[str, int]:
        """Return how many requests are in each state."""
        rows = self.rows("SELECT state, count(*) AS n FROM requests GROUP BY state ORDER BY state")
        return {row["state"]: row["n"] for row in rows}


def provider_answer(batch: Batch, *, status: str, **changes: Any) -> Any:
    """Return what the provider says about a batch."""
    return read_batch(
        {"id": batch.provider_id or "batch_x", "status": status, "endpoint": batch.endpoint}
        | changes
    )


def success_line(wire_id: str, *, content: str = "fine", tokens: int = 10) -> bytes:
    """Return a line of an output file that answers the request."""
    body = {
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": content}}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5},
    }
    response = {"status_code": 200, "request_id": f"req-{wire_id}", "body": body}
    return _line(wire_id, response=response)


def failure_line(wire_id: str, *, status: int = 400, code: str = "invalid_value") -> bytes:
    """Return a line of an error file: the request ran and the provider refused it."""
    body = {"error": {"code": code, "message": f"refused with {status}"}}
    return _line(wire_id, response={"status_code": status, "request_id": "req", "body": body})


def not_run_line(wire_id: str, *, code: str = "batch_expired") -> bytes:
    """Return a line of an error file: the request was never executed."""
    return _line(wire_id, error={"code": code, "message": "was not executed"})


def _line(wire_id: str, **said: object) -> bytes:
    parts = {"id": f"batch_req_{wire_id}", "custom_id": wire_id, "response": None, "error": None}
    return json.dumps(parts | said).encode()
