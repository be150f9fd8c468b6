"""Answers of receivers, read piece by piece and never further than wanted."""

from dataclasses import dataclass

import httptools

_LARGEST_HEAD_BYTES = 65_536
_FIRST_FINAL_STATUS = 200
_SWITCHING = 101


class Unanswered(Exception):
    """The connection ended, or went wrong, before the answer was whole."""

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message)
        self.began = began
        """Whether any byte of the answer had come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back: status, headers, and as much of the body as was wanted."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes
    is_cut: bool
    """Whether there was more of the body."""


class AnswerReader:
    """Makes answers of bytes; one reader serves a connection, begun anew for each answer."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin(0)

    def begin(self, most_bytes: int) -> None:
        """Expect another answer, of whose body so many bytes are wanted."""
        self.answer: Answer | None = None
        self.keeps_alive = False
        self.fed_bytes = 0
        self._most_bytes = most_bytes
        self.on_message_begin()

    def feed(self, data: bytes) -> Answer | None:
        """Return the answer once it is whole, or as long as wanted; Unanswered if it is none."""
        self.fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish(is_cut=False)
        except httptools.HttpParserError as error:
            self.keeps_alive = False
            if self.answer is None:
                raise Unanswered(f"its answer is not HTTP/1.1 ({error})", began=True) from None
        if self.answer is None and self.fed_bytes > self._most_bytes + _LARGEST_HEAD_BYTES:
            self._give_up()
        return self.answer

    def end(self) -> Answer | None:
        """Return the answer if it is whole now that the connection has ended."""
        if self.answer is None and self._has_head and self._ends_with_connection():
            self._finish(is_cut=False)
        return self.answer

    def on_message_begin(self) -> None:
        """Forget the last message: an interim one, or something that follows the answer."""
        if self.answer is not None:
            self.keeps_alive = False
        self._has_head = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Note that status and headers are known."""
        if self.answer is None:
            self._has_head = True
            self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, and finish if there is more than wanted."""
        if self.answer is not None:
            return
        self._parts.append(body[: max(self._most_bytes - self._size_bytes, 0)])
        self._size_bytes += len(body)
        if self._size_bytes > self._most_bytes:
            self._finish(is_cut=True)

    def on_message_complete(self) -> None:
        """Finish, unless it was an interim answer."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS and status != _SWITCHING:
            self._has_head = False
        elif self.answer is None:
            self._finish(is_cut=False)

    def _finish(self, *, is_cut: bool) -> None:
        status = self._parser.get_status_code()
        if is_cut or status < _FIRST_FINAL_STATUS:
            self.keeps_alive = False
        content = b"".join(self._parts)
        self.answer = Answer(status=status, headers=self._headers, content=content, is_cut=is_cut)

    def _give_up(self) -> None:
        if not self._has_head:
            raise Unanswered("the head of its answer is too long", began=True)
        self._finish(is_cut=True)

    def _ends_with_connection(self) -> bool:
        headers = dict(self._headers)
        chunked = b"chunked" in headers.get(b"transfer-encoding", b"").lower()
        return not chunked and b"content-length" not in headers
