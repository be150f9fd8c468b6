"""Result files that come packed although nobody has asked for that."""

from pathlib import Path
from typing import Final

from storage.compression import unpacked_gzip
from storage.durable import written_durably
from storage.source_bytes import SourceBytes

_GZIP: Final = b"\x1f\x8b"


def unpack_answers(path: Path) -> None:
    """Unpack a result file if it is packed with gzip, as no JSON begins; BadInput if it is cut."""
    with path.open("rb") as file:
        if file.read(len(_GZIP)) != _GZIP:
            return
    with SourceBytes(path) as packed, written_durably(path) as whole:
        for block in unpacked_gzip(packed):
            whole.write(block)
