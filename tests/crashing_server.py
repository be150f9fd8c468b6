"""Processes that may be killed, started in milliseconds: a server imports once and forks.

It has no thread of Python and has not used Polars, DuckDB or Arrow when it forks, so that the
child starts their threads itself. `ForkServer().run(...)` returns how the child ended.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

LONGEST_SECONDS = 100
_LATE = 97


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended."""

    code: int | None
    """What it exited with; None if it was killed."""
    signal: int | None


class ForkServer:
    """The server, from the outside."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", __file__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True,
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()

    def said(self) -> str:
        """Return the end of what the processes have written."""
        return self._log.read_text()[-3000:]

    def run(self, **order: Any) -> Ended:
        """Let a new process do an act; return when it has ended."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self.said()
        status = int(answer)
        if os.WIFSIGNALED(status):
            return Ended(code=None, signal=os.WTERMSIG(status))
        return Ended(code=os.WEXITSTATUS(status), signal=None)


def _serve() -> None:
    _import_everything()
    assert threading.active_count() == 1
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _obey(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


def _import_everything() -> None:
    """Import the product without using Polars: its pool of threads would not survive a fork.

    Two modules convert an empty frame when they are imported; a child does that for them.
    """
    import polars as pl  # noqa: PLC0415 - only the server needs it
    import pyarrow as pa  # noqa: PLC0415 - only the server needs it

    convert = pl.DataFrame.to_arrow

    def converted_elsewhere(frame: pl.DataFrame, **options: Any) -> Any:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, convert(frame, **options).schema.serialize().to_pybytes())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            schema = pa.ipc.read_schema(pa.BufferReader(pipe.read()))
        os.wait()
        return schema.empty_table()

    pl.DataFrame.to_arrow = converted_elsewhere  # type: ignore[method-assign] # until all is here
    import crash_seams  # noqa: F401, PLC0415 - see above
    import crashing_acts  # noqa: F401, PLC0415 - see above

    import clients.rabbitmq  # noqa: PLC0415 - see above
    import clients.webhooks  # noqa: F401, PLC0415 - see above

    _share_certificates()
    pl.DataFrame.to_arrow = convert  # type: ignore[method-assign] # as it was
    names = {(Path(f"/proc/self/task/{each}/comm")).read_text().strip()
             for each in os.listdir("/proc/self/task")}  # noqa: PTH208 - Path would not be shorter  # fmt: skip
    assert not any(name.startswith("polars-0") for name in names), names


def _share_certificates() -> None:
    """Read the trusted certificates once: each client would take 0.1 s for them."""
    from httpx2._transports import default  # noqa: PLC0415 - only the server needs it

    context = default.create_ssl_context()
    default.create_ssl_context = lambda *_, **__: context


def _obey(order: Mapping[str, Any]) -> None:
    code = 1
    try:
        code = _act(order)
    except BaseException:  # noqa: BLE001 - a forked process must not go on in the server's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _act(order: Mapping[str, Any]) -> int:
    from crash_points import Switchboard  # noqa: PLC0415 - imported before the fork
    from crash_seams import watch_everything  # noqa: PLC0415 - imported before the fork
    from crashing_acts import act  # noqa: PLC0415 - imported before the fork

    from batching.settings import Settings  # noqa: PLC0415 - imported before the fork

    signal.signal(signal.SIGALRM, lambda *_: os._exit(_LATE))
    signal.alarm(LONGEST_SECONDS)
    settings = Settings(_env_file=None, **order["settings"])
    board = Switchboard(Path(order["log"]), **order["kill"])
    watch_everything(board, settings.data_dir)
    return act(order["act"], settings, board, order["options"])


if __name__ == "__main__":
    _serve()
