"""Running the simulator as a server."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from simulator.application import build_application
from simulator.parent import die_with
from simulator.parts import build_parts

if TYPE_CHECKING:
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
    parts.worker.start()
    try:
        _Server(config, parts).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # uvicorn hands the signal on after a clean stop
    finally:
        parts.worker.stop()


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
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.set_inheritable(False)
    return listener
