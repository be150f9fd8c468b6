"""The calls about files."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from simulator.api_errors import (
    BAD_REQUEST,
    ApiError,
    json_response,
    not_found,
)
from simulator.connections import drop_connection
from simulator.limits import (
    BATCH_FILE_RETENTION_SECONDS,
    MAX_EXPIRY_SECONDS,
    MIN_EXPIRY_SECONDS,
    PURPOSES,
)
from simulator.paging import list_object, page_limit
from simulator.records import FileRecord, file_object, new_id
from simulator.uploads import receive_form

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from simulator.parts import Parts
    from simulator.records import AppliedScenario
    from simulator.uploads import UploadForm

TOO_LARGE = 413
LONGEST_PAGE = 10_000
READ_BYTES = 1 << 18


async def create_file(parts: Parts, request: Request, account: str) -> Response:
    """Store an uploaded file."""
    file_id = new_id("file-")
    arriving = parts.files.uploads / file_id
    try:
        form = await receive_form(request, arriving)
        _check_size(parts, form)
        record = _file_record(file_id, account, form)
        arriving.rename(parts.files.content(file_id))
    finally:
        arriving.unlink(missing_ok=True)
    parts.files.add(record)
    return json_response(file_object(record))


def _check_size(parts: Parts, form: UploadForm) -> None:
    for fault in parts.scenarios.for_calls("small_uploads"):
        if form.size > fault.integer("bytes"):
            message = f"File is too large: {form.size} bytes, {fault.integer('bytes')} are allowed."
            raise ApiError(TOO_LARGE, message, param="file")


def _file_record(file_id: str, account: str, form: UploadForm) -> FileRecord:
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise ApiError(BAD_REQUEST, "Missing required parameter: 'purpose'.", param="purpose")
    if purpose not in PURPOSES:
        message = f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'"
        raise ApiError(BAD_REQUEST, message, param="purpose")
    filename = form.filename or "upload"
    if purpose == "batch" and not filename.endswith(".jsonl"):
        message = f"Invalid file format for Batch API: '{filename}' must be .jsonl."
        raise ApiError(BAD_REQUEST, message, param="file", code="invalid_file_format")
    now = int(time.time())
    lifetime = _lifetime(form.fields)
    if lifetime is None and purpose == "batch":
        lifetime = BATCH_FILE_RETENTION_SECONDS
    return FileRecord(
        id=file_id,
        account=account,
        bytes=form.size,
        created_at=now,
        filename=filename,
        purpose=purpose,
        expires_at=None if lifetime is None else now + lifetime,
    )


def _lifetime(fields: dict[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        message = "Invalid value for 'expires_after.anchor': it must be 'created_at'."
        raise ApiError(BAD_REQUEST, message, param="expires_after.anchor", code="invalid_value")
    return checked_lifetime(seconds, "expires_after.seconds")


def checked_lifetime(seconds: object, param: str) -> int:
    """Return a lifetime of a file that the API allows."""
    text = str(seconds)
    if not text.isdecimal() or not MIN_EXPIRY_SECONDS <= int(text) <= MAX_EXPIRY_SECONDS:
        message = (
            f"Invalid value for '{param}': it must be a whole number from {MIN_EXPIRY_SECONDS} "
            f"to {MAX_EXPIRY_SECONDS}."
        )
        raise ApiError(BAD_REQUEST, message, param=param, code="invalid_value")
    return int(text)


async def list_files(parts: Parts, request: Request, account: str) -> Response:
    """List the files of the account."""
    query = request.query_params
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        message = "Invalid value for 'order': it must be 'asc' or 'desc'."
        raise ApiError(BAD_REQUEST, message, param="order", code="invalid_value")
    limit = page_limit(query.get("limit"), default=LONGEST_PAGE, longest=LONGEST_PAGE)
    found = parts.files.page(
        account,
        after=query.get("after"),
        limit=limit + 1,
        ascending=order == "asc",
        purpose=query.get("purpose"),
    )
    return json_response(list_object([file_object(each) for each in found], limit))


async def retrieve_file(parts: Parts, request: Request, account: str) -> Response:
    """Show one file."""
    return json_response(file_object(_find(parts, request, account)))


async def delete_file(parts: Parts, request: Request, account: str) -> Response:
    """Delete a file."""
    record = _find(parts, request, account)
    parts.files.delete(record.id)
    return json_response({"id": record.id, "object": "file", "deleted": True})


async def download_file(parts: Parts, request: Request, account: str) -> Response:
    """Send the content of a file, in flat memory."""
    record = _find(parts, request, account)
    path, size, break_at = parts.files.content(record.id), record.bytes, None
    for fault in parts.scenarios.for_calls("missing_downloads", "cut_downloads"):
        if not _is_meant(parts, fault, record):
            continue
        if fault.name == "missing_downloads":
            raise not_found("File", record.id)
        cut = int(record.bytes * fault.number("at"))
        if fault.text("as") == "short":
            size = _end_of_line(path, cut)
        else:
            break_at = cut
    return StreamingResponse(
        _pieces(path, size, break_at, request),
        media_type="application/octet-stream",
        headers={"content-length": str(size)},
    )


def _find(parts: Parts, request: Request, account: str) -> FileRecord:
    file_id = request.path_params["file_id"]
    record = parts.files.find(file_id, account)
    if record is None:
        raise not_found("File", file_id)
    return record


def _is_meant(parts: Parts, fault: AppliedScenario, record: FileRecord) -> bool:
    if fault.text("file") not in ("any", record.filename.rpartition("_")[2].split(".")[0]):
        return False
    return parts.scenarios.take(fault.rule, "downloads", fault.integer("times"))


def _end_of_line(path: Path, position: int) -> int:
    """Return where the line before a position ends: a cut there is not seen in the text."""
    with path.open("rb") as file:
        start = max(0, position - READ_BYTES)
        before = os.pread(file.fileno(), position - start, start)
    return start + before.rfind(b"\n") + 1


async def _pieces(
    path: Path, size: int, break_at: int | None, request: Request
) -> AsyncIterator[bytes]:
    end = size if break_at is None else break_at
    with path.open("rb", buffering=0) as file:
        while end > 0 and (piece := file.read(min(READ_BYTES, end))):
            end -= len(piece)
            yield piece
    if break_at is not None:
        await drop_connection(request.scope)
