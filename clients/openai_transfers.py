"""Large files on their way to and from the provider: streamed, stoppable, all or nothing."""

import contextlib
import errno
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

from batching.errors import ConfigurationError, DiskFull, IncompleteDownload, ProviderUnavailable
from batching.stopping import check_stop

CHUNK_BYTES = 256 * 1024
_SLOWEST_BYTES_PER_SECOND = 50_000
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoppableFile(io.FileIO):
    """A file being uploaded, whose next read raises once the process is to stop."""

    def __init__(self, path: Path, *, patience_seconds: float) -> None:
        super().__init__(path, "rb")
        self.size_bytes = os.fstat(self.fileno()).st_size
        self._allowed_seconds = patience_seconds + self.size_bytes / _SLOWEST_BYTES_PER_SECOND
        self._end = time.monotonic() + self._allowed_seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; raise StopRequested, or ProviderUnavailable if it takes ages."""
        check_stop()
        if time.monotonic() > self._end:
            raise ProviderUnavailable(
                f"it was not done after {self._allowed_seconds:,.0f} s. "
                "It is tried again; check the network if it goes on."
            )
        return super().read(-1 if size is None else size) or b""


def save_stream(chunks: Iterator[bytes], target: Path, *, expected_bytes: int | None) -> int:
    """Write the chunks to the target, which appears only when it is whole; return its size."""
    unfinished = target.with_name(target.name + ".tmp")
    try:
        size = _write(chunks, unfinished)
        if expected_bytes is not None and size < expected_bytes:
            raise IncompleteDownload(
                f"only {size:,} of its {expected_bytes:,} bytes came. It is fetched again."
            )
        unfinished.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _disk_error(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return size


def _write(chunks: Iterator[bytes], path: Path) -> int:
    size = 0
    with path.open("wb") as file:
        for chunk in chunks:
            check_stop()
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(error: OSError, target: Path) -> DiskFull | ConfigurationError:
    if error.errno in _NO_SPACE:
        return DiskFull(f"no space is left for {target}: free some, then it goes on by itself.")
    return ConfigurationError(f"{target} cannot be written ({error}): check the data directory.")
