"""The one file in a form (`multipart/form-data`), streamed."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from batching.errors import BadInput

_MOST_HEADER_BYTES: Final = 10_000


class FormFile:
    """Finds the file in a form while the form comes in."""

    def __init__(self, boundary: bytes) -> None:
        self.name: str | None = None
        """Name of the file; known once its content begins."""
        self._content: list[bytes] = []
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._is_file = False
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def content(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the content of the file; BadInput if there is not exactly one, or it is cut."""
        for piece in pieces:
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise BadInput(f"the form cannot be read: {error}") from None
            found, self._content = self._content, []
            yield from found
        if not self._is_complete:
            raise BadInput("the form is cut off: its end is missing")
        if self.name is None:
            raise BadInput("the form has no file: send one field with a file name")

    def _on_part_begin(self) -> None:
        self._disposition = self._header_name = self._header_value = b""
        self._is_file = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._check_headers()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._header_name) + len(self._header_value) > _MOST_HEADER_BYTES:
            raise BadInput("the form cannot be read: the head of a part is too long")

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        options: dict[Any, Any] = parse_options_header(self._disposition)[1]
        name = options.get(b"filename")
        self._is_file = name is not None
        if name is None:
            return
        if self.name is not None:
            raise BadInput("the form has several files: send one a request")
        self.name = name.decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._content.append(data[start:end])

    def _on_end(self) -> None:
        self._is_complete = True


def boundary_of(content_type: bytes) -> bytes | None:
    """Return the boundary if this is the type of a form; None if it is something else."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadInput("the form cannot be read: its Content-Type names no boundary")
    return bytes(boundary)
