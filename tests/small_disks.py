"""Disks that are so small that a test can fill them."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def small_disk_of(megabytes: int) -> Iterator[Path]:
    """Yield the folder of a file system of its own; skip the test where none can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="obm-small-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.rmtree(folder)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nothing be written there for a while; waits until nobody has a file open to write."""
    _remount(disk, "ro")
    try:
        yield
    finally:
        _remount(disk, "rw")


def _remount(disk: Path, how: str) -> None:
    end = time.monotonic() + 60
    command = ["mount", "-o", f"remount,{how}", str(disk)]
    while (done := subprocess.run(command, check=False, capture_output=True)).returncode:
        assert time.monotonic() < end, done.stderr.decode()
        time.sleep(0.05)
