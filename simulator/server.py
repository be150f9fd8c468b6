"""Running the simulator as a server."""

from __future__ import annotations

import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from simulator.application import build_application
from simulator.parent import die_with
from simulator.parts import build_parts

if TYPE_CHECKING:
    from types import FrameType

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
        sys.stdout.write(f"Simulator ready: http://{self._host}:{port}/v1\n")
        sys.stdout.flush()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host} port {port} ({error.strerror}); choose another port"
        raise OSError(error.errno, message) from error
