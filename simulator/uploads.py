"""Taking in an upload: a multipart form whose file goes to disk as it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from simulator.api_errors import BAD_REQUEST, TOO_LARGE, ApiError
from simulator.limits import MAX_FILE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

LONGEST_FIELD_BYTES = 64 * 1024


class UploadForm:
    """The fields of a form; its file's bytes are written to `path`."""

    def __init__(self, path: Path) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self._file = path.open("wb")
        self._header_name = b""
        self._header_value = b""
        self._name = ""
        self._is_file = False
        self._value = bytearray()

    def callbacks(self) -> Any:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_field,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_part_data": self._part_data,
            "on_part_end": self._end_part,
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _begin_part(self) -> None:
        self._name, self._is_file, self._value = "", False, bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._name = options.get(b"name", b"").decode(errors="replace")
            if self._name == "file":
                self._is_file = True
                self.filename = options.get(b"filename", b"upload").decode(errors="replace")
        self._header_name = self._header_value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._value += data[start:end]
            if len(self._value) > LONGEST_FIELD_BYTES:
                raise ApiError(BAD_REQUEST, f"The field '{self._name}' is too long.")
            return
        self.size += end - start
        if self.size > MAX_FILE_BYTES:
            raise ApiError(TOO_LARGE, "The file is larger than the limit of 512 MB.", param="file")
        self._file.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if not self._is_file:
            self.fields[self._name] = self._value.decode(errors="replace")


async def receive_form(request: Request, path: Path) -> UploadForm:
    """Return the fields of an upload once its file lies at `path`, in flat memory."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(BAD_REQUEST, "The request must be multipart/form-data.")
    form = UploadForm(path)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(BAD_REQUEST, f"The multipart form cannot be read: {error}") from error
    finally:
        form.close()
    if form.filename is None:
        raise ApiError(BAD_REQUEST, "Missing required parameter: 'file'.", param="file")
    return form
