"""`POST /api/files`: a request file in any format that may be dropped, as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from batching.errors import BadInput, DiskFull
from batching.jobs import job_name_of
from receivers.answers import ApiError, api_error, invalid_parameter, send_json, storage_unavailable
from receivers.body_reading import body_headers, invalid_content, refuse_larger
from receivers.context import WebContext
from receivers.form_files import FormFile, boundary_of
from receivers.intake_counts import ACCEPTED, DUPLICATE, FILE, outcome_of
from receivers.queries import check_side_settings, flag_of, json_of, parameters_of
from receivers.single_intake import paused
from receivers.unpacking import Plain
from receivers.uploads import Pieces
from storage.formats import SourceFormat, ends_well, format_of
from storage.held_files import hold
from storage.uploaded_files import UploadedFile, job_with_content

_PARAMETERS: Final = frozenset({"name", "job", "hold"})
_LONGEST_NAME_BYTES: Final = 180
_PACKED: Final = frozenset({SourceFormat.JSONL_GZIP, SourceFormat.JSONL_ZSTD, SourceFormat.PARQUET})
"""Formats whose end can be told from a cut; of the others the length of the body decides."""


class FileResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to an upload."""

    file: str
    job: str
    bytes: int
    duplicate: bool
    held: str | None = None
    """Under which id it waits, if it shall."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    name: str | None
    side_settings: dict[str, Any]
    boundary: bytes | None
    hold: bool


class FileIntake:
    """Takes one file a call."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        counts = self._context.counts
        try:
            result = await self._result(scope, receive)
        except ApiError as error:
            counts.count_upload(FILE, outcome_of(error))
            raise
        counts.count_upload(FILE, DUPLICATE if result.duplicate else ACCEPTED)
        await send_json(send, 202, msgspec.json.encode(result))

    async def _result(self, scope: Scope, receive: Receive) -> FileResult:
        context = self._context
        try:
            wish = self._wish_of(scope)
            if (pause := context.pause.now()) is not None:
                raise paused(pause)
            return await context.uploads.run(receive, partial(self._take, wish=wish))
        except BadInput as error:
            raise invalid_content(error) from error
        except (DiskFull, OSError) as error:
            raise storage_unavailable(error) from error

    def _wish_of(self, scope: Scope) -> _Wish:
        length, unpacking = body_headers(scope)
        if not isinstance(unpacking, Plain):
            raise api_error(
                415,
                "unsupported_encoding",
                "Unsupported Media Type",
                "a file is taken as it is: let its name end with .gz or .zst, "
                "and send no Content-Encoding",
            )
        refuse_larger(length, self._context.settings.max_upload_bytes)
        parameters = parameters_of(scope["query_string"], _PARAMETERS)
        side_settings = json_of(parameters, "job")
        if side_settings is None:
            side_settings = {}
        check_side_settings(side_settings, self._context.rules.now(), parameter="job")
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        boundary = boundary_of(kind)
        if boundary is None and "name" not in parameters:
            raise invalid_parameter("name", "is missing: its ending tells the format of the file")
        name = safe_name(parameters["name"]) if "name" in parameters else None
        return _Wish(
            name=name,
            side_settings=side_settings,
            boundary=boundary,
            hold=flag_of(parameters, "hold"),
        )

    def _take(self, pieces: Pieces, *, wish: _Wish) -> FileResult:
        form = None if wish.boundary is None else FormFile(wish.boundary)
        content = self._bounded(pieces)
        blocks = content if form is None else form.content(content)
        first = next(blocks, b"")
        if not first:
            raise _unusable("the file is empty")
        name = wish.name or safe_name((form.name if form else None) or "")
        with UploadedFile(self._context.directory, format_of(name)) as file:
            file.write(first)
            for block in blocks:
                file.write(block)
            if format_of(name) in _PACKED and not ends_well(file.path):
                raise _unusable("the file is cut off or damaged: write it again to its end")
            if wish.hold:
                return self._held(file, name, wish.side_settings)
            return self._finished(file, name, wish.side_settings)

    def _bounded(self, pieces: Pieces) -> Iterator[bytes]:
        size = 0
        for piece in pieces:
            size += len(piece)
            refuse_larger(size, self._context.settings.max_upload_bytes)
            yield piece

    def _finished(self, file: UploadedFile, name: str, side_settings: dict[str, Any]) -> FileResult:
        earlier = None
        if not side_settings.get("again"):
            earlier = job_with_content(self._context.directory, file.content_hash)
        if earlier is not None:
            return FileResult(file=name, job=earlier, bytes=file.bytes, duplicate=True)
        place = file.hand_over(name, side_settings=side_settings)
        job = side_settings.get("label") or job_name_of(place.name)
        return FileResult(file=place.name, job=job, bytes=file.bytes, duplicate=False)

    def _held(self, file: UploadedFile, name: str, side_settings: dict[str, Any]) -> FileResult:
        held = hold(self._context.directory, file, name, side_settings=side_settings)
        self._context.estimates.begin(held)
        return FileResult(
            file=name,
            job=held.earlier_job or held.job,
            bytes=held.bytes,
            duplicate=held.earlier_job is not None,
            held=held.held,
        )


def safe_name(given: str) -> str:
    """Return a name for the inbox: no way to another folder, not hidden, with a known ending."""
    last = PurePosixPath(given.replace("\\", "/")).name
    visible = "".join(character if character.isprintable() else "_" for character in last)
    plain = visible.strip().lstrip(".")
    try:
        format_of(plain)
        encoded = plain.encode()
    except (BadInput, UnicodeEncodeError) as error:
        raise invalid_parameter("name", str(error)) from None
    if len(encoded) > _LONGEST_NAME_BYTES:
        raise invalid_parameter("name", f"has more than {_LONGEST_NAME_BYTES} bytes")
    return plain


def _unusable(reason: str) -> ApiError:
    return api_error(422, "invalid_file", "Invalid value", reason)
