"""Servers in processes of their own, for as long as they are measured."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 60.0


@contextmanager
def web_server(data: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """Run `obm web` and give its port and process id."""
    environment = {**os.environ, "OBM_DATA_DIR": str(data), "OBM_HOST": "127.0.0.1"}
    port = free_port()
    command = [sys.executable, "-m", "deployments.cli", "web", *arguments]
    ports = dict.fromkeys(("OBM_PORT", "OBM_DASHBOARD_PORT"), str(port))
    with _serving(command, {**environment, **ports}, port) as process_id:
        yield port, process_id


@contextmanager
def bare_server() -> Iterator[tuple[int, int]]:
    """Run a server that keeps nothing and give its port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_server", str(port)]
    with _serving(command, dict(os.environ), port) as process_id:
        yield port, process_id


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, env=environment)
    try:
        _await_port(port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
