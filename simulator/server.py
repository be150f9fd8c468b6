"""Running the simulator as a server."""

from __future__ import annotations

import fcntl
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from simulator.application import build_application
from simulator.parent import die_with
from simulator.parts import build_parts

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType
    from typing import IO

    from simulator.options import SimulatorOptions
    from simulator.parts import Parts

SWITCH_SECONDS = 0.0005
BACKLOG = 1_024


def run_simulator(options: SimulatorOptions) -> None:
    """Serve until SIGINT or SIGTERM; print one line with the URL when ready."""
    if options.parent_process is not None:
        die_with(options.parent_process)
    # The worker computes without pause: with Python's own 5 ms each piece of an upload would wait.
    sys.setswitchinterval(SWITCH_SECONDS)
    listener = _listen(options.host, options.port)
    lock = _lock(options.directory)
    parts = build_parts(options)
    config = uvicorn.Config(
        build_application(parts),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
    # uvicorn stops cleanly at a signal and then raises it again: that must not look like a crash.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    parts.worker.start()
    try:
        _Server(config, parts).run(sockets=[listener])
    finally:
        parts.worker.stop()
        lock.close()


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """Says where it is reachable once it is."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._host = parts.options.host

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        port = sockets[0].getsockname()[1] if sockets else self.config.port
        host = f"[{self._host}]" if ":" in self._host else self._host
        sys.stdout.write(f"Simulator ready: http://{host}:{port}/v1\n")
        sys.stdout.flush()


def _lock(directory: Path) -> IO[bytes]:
    """Make sure that no other simulator works on the same state: lines would run twice."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "simulator.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        message = f"another simulator is using {directory}; choose another directory"
        raise OSError(error.errno, message) from error
    return lock


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host} port {port} ({error.strerror}); choose another port"
        raise OSError(error.errno, message) from error
    # asyncio does this only for sockets that it made itself; without it each answer takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
