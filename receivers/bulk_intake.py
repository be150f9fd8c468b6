"""`POST /api/requests/bulk`: many requests as JSON lines, all that are good or none."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from batching.errors import BadInput, DiskFull
from batching.jobs import DEFAULT_JOB, slug
from batching.requests import ReadingRules, ReadRequest, read_request
from receivers.answers import ApiError, invalid_parameter, send_json, storage_unavailable
from receivers.body_reading import body_headers, invalid_content, refuse_larger
from receivers.context import WebContext
from receivers.intake_counts import (
    ACCEPTED,
    BULK,
    DUPLICATE,
    REFUSED,
    IntakeCounts,
    outcome_of,
)
from receivers.line_verdicts import LineVerdict, LineVerdicts
from receivers.queries import check_side_settings, flag_of, json_of, parameters_of
from receivers.single_intake import checked_job, paused
from receivers.unpacking import Unpacking
from receivers.uploads import Pieces
from storage.formats import SourceFormat
from storage.known_ids import Known
from storage.text_formats import Chunk, split_lines
from storage.uploaded_files import UploadedFile, is_staged, job_with_content

_PARAMETERS: Final = frozenset({"job", "delivery_config", "again"})
_NDJSON: Final = b"application/x-ndjson"
_REMEMBERED_IDS: Final = 200_000
"""Ids of one upload that are compared with each other here; ingestion compares all."""


class BulkResult(msgspec.Struct, kw_only=True):
    """The answer to an upload."""

    job: str
    lines: int
    accepted: int
    rejected: int
    duplicates: int
    duplicate: bool
    errors: list[LineVerdict]
    errors_left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """What the client wants done with the lines."""

    label: str | None
    side_settings: dict[str, Any]
    again: bool
    every_verdict: bool


class BulkIntake:
    """Takes one upload a call."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        try:
            await self._answer(scope, receive, send)
        except ApiError as error:
            self._context.counts.count_upload(BULK, outcome_of(error))
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = self._context
        wish = _wish_of(scope, context.rules.now())
        length, unpacking = body_headers(scope)
        refuse_larger(length, context.settings.max_upload_bytes)
        if (pause := context.pause.now()) is not None:
            raise paused(pause)
        try:
            with LineVerdicts(context.directory.receiving, keep_all=wish.every_verdict) as verdicts:
                upload = _Upload(context=context, wish=wish, verdicts=verdicts)
                work = partial(upload.take, unpacking=unpacking)
                result = await context.uploads.run(receive, work)
                _count(context.counts, result)
                await _send_result(send, result, verdicts, every_verdict=wish.every_verdict)
        except BadInput as error:
            raise invalid_content(error) from error
        except (DiskFull, OSError) as error:
            raise storage_unavailable(error) from error


def _count(counts: IntakeCounts, result: BulkResult) -> None:
    for outcome, count in (
        (ACCEPTED, result.accepted), (DUPLICATE, result.duplicates), (REFUSED, result.rejected),
    ):  # fmt: skip
        counts.count_requests(BULK, outcome, count)
    is_new = ACCEPTED if result.accepted else REFUSED
    counts.count_upload(BULK, DUPLICATE if result.duplicate else is_new)


def _wish_of(scope: Scope, rules: ReadingRules) -> _Wish:
    parameters = parameters_of(scope["query_string"], _PARAMETERS)
    label = checked_job(parameters["job"]) if "job" in parameters else None
    if label == DEFAULT_JOB:
        raise invalid_parameter(
            "job", "`default` takes requests one by one: name another job, or leave it out"
        )
    again = flag_of(parameters, "again")
    destination = json_of(parameters, "delivery_config")
    side_settings: dict[str, Any] = {"label": label} if label else {}
    if destination is not None:
        side_settings["delivery_config"] = destination
    if again:
        side_settings["again"] = True
    check_side_settings(side_settings, rules, parameter="delivery_config")
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return _Wish(
        label=label, side_settings=side_settings, again=again, every_verdict=_NDJSON in accept
    )


async def _send_result(
    send: Send, result: BulkResult, verdicts: LineVerdicts, *, every_verdict: bool
) -> None:
    status = 202 if result.accepted or result.duplicates else 422
    if not every_verdict:
        await send_json(send, status, msgspec.json.encode(result))
        return
    length = b"%d" % verdicts.spooled_bytes
    headers = [(b"content-type", _NDJSON), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for block in verdicts.blocks():
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@dataclass(kw_only=True)
class _Upload:
    """One upload, worked on by a thread."""

    context: WebContext
    wish: _Wish
    verdicts: LineVerdicts
    lines: int = 0

    def __post_init__(self) -> None:
        self.rules = self.context.rules.now()
        self._longest_line_bytes = min(
            self.rules.largest_line_bytes, self.context.settings.max_request_bytes
        )
        self._seen: dict[int, int] = {}

    def take(self, pieces: Pieces, *, unpacking: Unpacking) -> BulkResult:
        """Return what became of the upload, after all that is good of it lies in the inbox."""
        blocks = self._unpacked(pieces, unpacking)
        with UploadedFile(self.context.directory, SourceFormat.JSONL) as file:
            for chunk in split_lines(
                blocks, first_number=1, longest_line_bytes=self._longest_line_bytes
            ):
                good = self._good_lines(chunk)
                if good:
                    good.append(b"")
                    file.write(b"\n".join(good))
            return self._finished(file)

    def _unpacked(self, pieces: Pieces, unpacking: Unpacking) -> Iterator[bytes]:
        size = 0
        for piece in pieces:
            for block in unpacking.feed(piece):
                size += len(block)
                refuse_larger(size, self.context.settings.max_upload_bytes)
                yield block
        unpacking.finish()

    def _good_lines(self, chunk: Chunk) -> list[bytes]:
        good = []
        too_long = {refused.number for refused in chunk.refused}
        for number, line in zip(chunk.numbers, chunk.lines, strict=True):
            if number in too_long or not line or line.isspace():
                continue
            self.lines += 1
            request = read_request(line, self.rules)
            if not isinstance(request, ReadRequest):
                self.verdicts.refuse(number, line, request)
            elif self._is_kept(number, request):
                good.append(line)
        for refused in chunk.refused:
            self.lines += 1
            self.verdicts.refuse(refused.number, refused.raw, refused.refusal)
        return good

    def _is_kept(self, number: int, request: ReadRequest) -> bool:
        """Note what becomes of a request; return whether it belongs into the file.

        What an earlier upload has brought belongs there as well: ingestion passes over it, and
        the same upload always makes the same file, by which it is recognised.
        """
        earlier = self._seen.get(request.id_hash)
        if earlier is not None:
            known = Known.SAME if earlier == request.payload_hash else Known.OTHER
        else:
            known = self._known_before(request)
        if known is Known.OTHER:
            self.verdicts.conflict(number, request.custom_id)
        elif known is Known.SAME:
            self.verdicts.repeat(number, request.custom_id)
        else:
            self.verdicts.accept(number, request.custom_id)
        return earlier is None and known is not Known.OTHER

    def _known_before(self, request: ReadRequest) -> Known:
        known, label = Known.NEW, self.wish.label
        if label is not None:
            known = self.context.known_ids.look_up(label, request.id_hash, request.payload_hash)
        if known is not Known.OTHER and len(self._seen) < _REMEMBERED_IDS:
            self._seen[request.id_hash] = request.payload_hash
        return known

    def _finished(self, file: UploadedFile) -> BulkResult:
        stem = slug(self.wish.label) if self.wish.label else "bulk"
        name = f"{stem}-{file.content_hash[:16]}"
        result = self._result(self.wish.label or name)
        if not self.verdicts.accepted:
            return result
        if self.wish.again:
            name += f"-{secrets.token_hex(4)}"
            result = self._result(self.wish.label or name)
        elif (job := self._earlier_job(f"{name}.jsonl", file.content_hash, result.job)) is not None:
            return _all_repeated(result, job)
        file.hand_over(f"{name}.jsonl", side_settings=self.wish.side_settings)
        if self.wish.label is not None:
            for id_hash, payload_hash in self._seen.items():
                self.context.known_ids.add(self.wish.label, id_hash, payload_hash)
        return result

    def _earlier_job(self, file_name: str, content_hash: str, job: str) -> str | None:
        if is_staged(self.context.directory, file_name):
            return job
        return job_with_content(self.context.directory, content_hash)

    def _result(self, job: str) -> BulkResult:
        found = self.verdicts
        return BulkResult(
            job=job,
            lines=self.lines,
            accepted=found.accepted,
            rejected=found.rejected,
            duplicates=found.duplicates,
            duplicate=found.duplicates > 0 and not found.accepted,
            errors=found.listed,
            errors_left_out=found.rejected - len(found.listed),
        )


def _all_repeated(result: BulkResult, job: str) -> BulkResult:
    return msgspec.structs.replace(
        result,
        job=job,
        accepted=0,
        duplicates=result.duplicates + result.accepted,
        duplicate=True,
    )
