"""The lines of a source that were not accepted, kept with their number and reason."""

import base64
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from batching.line_faults import Refusal
from storage.durable import disk_errors, publish, sync_file, temporary_path


class RejectedWriter:
    """Collects refused lines; they appear under their name when `publish` is called.

    Nothing is created while there is nothing to reject.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: BinaryIO | None = None
        temporary_path(path).unlink(missing_ok=True)

    def add(self, number: int, refusal: Refusal, raw: bytes) -> None:
        """Keep one line: its number, why it was refused, and its text."""
        record: dict[str, object] = {
            "line": number,
            "code": str(refusal.code),
            "reason": refusal.reason,
        }
        text = raw.removesuffix(b"\r")
        try:
            record["raw"] = text.decode()
        except UnicodeDecodeError:
            record["raw_base64"] = base64.b64encode(text).decode()
        with disk_errors(self.path):
            self._opened().write(msgspec.json.encode(record) + b"\n")
        self.count += 1

    def publish(self) -> Path | None:
        """Give the collected lines their name and return it; None if there are none."""
        if self._file is None:
            return None
        with disk_errors(self.path):
            self._file.close()
            sync_file(temporary_path(self.path))
            publish(temporary_path(self.path), self.path)
        self._file = None
        return self.path

    def discard(self) -> None:
        """Forget what was collected and not published."""
        if self._file is not None:
            with suppress(OSError):  # a full disk refuses what is still in the buffer
                self._file.close()
            self._file = None
            temporary_path(self.path).unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = temporary_path(self.path).open("wb")
        return self._file
