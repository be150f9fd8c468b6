"""What becomes of each line of a bulk upload, counted, with the first faults at hand."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec

from batching.line_faults import Refusal, RefusalCode
from batching.request_faults import request_faults

MOST_LISTED: Final = 1_000
_LONGEST_QUOTED_LINE: Final = 1_000_000
_SPOOL_BLOCK_BYTES: Final = 200_000


class LineVerdict(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What became of one line."""

    line: int
    custom_id: str | None = None
    verdict: str
    code: str | None = None
    reason: str | None = None
    faults: list[dict[str, str]] = []


class _AnyLine(msgspec.Struct):
    custom_id: str


_encode: Final = msgspec.json.Encoder().encode
_decode_any: Final = msgspec.json.Decoder(_AnyLine).decode


class LineVerdicts:
    """Collects the verdicts of one upload; all of them, if wanted, in a file without a name."""

    def __init__(self, folder: Path, *, keep_all: bool) -> None:
        self._spool: IO[bytes] | None = tempfile.TemporaryFile(dir=folder) if keep_all else None  # noqa: SIM115 - closed at the end of the block
        self.listed: list[LineVerdict] = []
        self.accepted = 0
        self.duplicates = 0
        self.rejected = 0

    def accept(self, number: int, custom_id: str) -> None:
        """Note a line that is taken."""
        self.accepted += 1
        if self._spool is not None:
            self._keep(LineVerdict(line=number, custom_id=custom_id, verdict="accepted"))

    def repeat(self, number: int, custom_id: str) -> None:
        """Note a line that was accepted before, with the same content."""
        self.duplicates += 1
        self._keep(LineVerdict(line=number, custom_id=custom_id, verdict="duplicate"))

    def conflict(self, number: int, custom_id: str) -> None:
        """Note a line whose custom_id was accepted with another content."""
        self._reject(
            LineVerdict(
                line=number,
                custom_id=custom_id,
                verdict="rejected",
                code=RefusalCode.DUPLICATE_CUSTOM_ID,
                reason=f"the job has a request {custom_id!r} with another content already",
            )
        )

    def refuse(self, number: int, line: bytes, refusal: Refusal) -> None:
        """Note a line that is not valid."""
        if self._spool is None and len(self.listed) >= MOST_LISTED:
            self.rejected += 1  # nobody will see more of it, and looking closely is slow
            return
        is_readable = len(line) <= _LONGEST_QUOTED_LINE
        self._reject(
            LineVerdict(
                line=number,
                custom_id=_custom_id_of(line) if is_readable else None,
                verdict="rejected",
                code=refusal.code,
                reason=refusal.reason,
                faults=_faults_of(line, refusal) if is_readable else [],
            )
        )

    def blocks(self) -> Iterator[bytes]:
        """Yield all verdicts as JSON lines."""
        if self._spool is not None:
            self._spool.seek(0)
            while block := self._spool.read(_SPOOL_BLOCK_BYTES):
                yield block

    @property
    def spooled_bytes(self) -> int:
        """How many bytes `blocks` yields."""
        return 0 if self._spool is None else self._spool.seek(0, 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def _reject(self, verdict: LineVerdict) -> None:
        self.rejected += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append(verdict)
        self._keep(verdict)

    def _keep(self, verdict: LineVerdict) -> None:
        if self._spool is not None:
            self._spool.write(_encode(verdict) + b"\n")


def _faults_of(line: bytes, refusal: Refusal) -> list[dict[str, str]]:
    return [
        {"code": str(fault.code), "pointer": fault.pointer, "detail": fault.reason}
        for fault in request_faults(line, refusal)
    ]


def _custom_id_of(line: bytes) -> str | None:
    try:
        found: Any = _decode_any(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found.custom_id or None
