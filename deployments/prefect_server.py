"""The embedded Prefect server: a child process with SQLite in the data directory.

This module must not import prefect: it prepares the environment that prefect reads while it
is imported.
"""

import http.client
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from batching.errors import ConfigurationError
from deployments.children import Role
from storage.directory import DataDirectory

HOST = "127.0.0.1"
API_URL_VARIABLE = "PREFECT_API_URL"
_HEALTH_TIMEOUT_SECONDS = 1.0

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}
"""Nothing is sent to anybody, and nothing is advertised."""

RETENTION = {
    # Without `true` only events are removed, and runs stay for ever.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P2D",
    # In seconds this one is refused, and then every prefect command fails.
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
}
"""Two days of runs: about 0.25 GB."""

PACE = {
    # One machine, five deployments: what these look for seldom happens here, or our runner
    # sees to it, and each pass costs the processor.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "300",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "30",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT60S",
    # Ten minutes of future runs are enough: ours are a minute apart.
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT10M",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "15",
}
"""How often the server's own services look around."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefectServer:
    """Where the embedded server listens and keeps its files."""

    directory: DataDirectory
    port: int

    @property
    def ui_url(self) -> str:
        """Return the address for a browser."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        """Return the address for `PREFECT_API_URL`."""
        return f"{self.ui_url}/api"

    def environment(self) -> dict[str, str]:
        """Return the server's environment; what the operator has set himself wins."""
        own = {name: value for name, value in os.environ.items() if name != API_URL_VARIABLE}
        home = {"PREFECT_HOME": str(self.directory.prefect.absolute())}
        return {**QUIET, **RETENTION, **PACE, **own, **home}

    def is_ready(self) -> bool:
        """Return whether the server answers."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_HEALTH_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def role(self) -> Role:
        """Return the process that runs the server."""
        start = ("-m", "prefect", "server", "start", "--host", HOST, "--port", str(self.port))
        return Role(
            name="prefect",
            argv=(sys.executable, *start),
            ready_when=self.is_ready,
            environment=self.environment(),
            log=self.directory.prefect / "server.log",
            stop_signal=signal.SIGINT,
            # SQLite survives it, and nobody is left who could end a server that hangs.
            death_signal=signal.SIGKILL,
        )


def choose_server(directory: DataDirectory, port: int) -> PrefectServer:
    """Return a server on this port (0: any free one); raise if something else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} of {HOST} is in use ({error.strerror}), and the embedded Prefect "
                "server needs it: set OBM_PREFECT_PORT to a free port (0: any), or "
                f"{API_URL_VARIABLE} to the address of a server that runs already"
            ) from error
        return PrefectServer(directory=directory, port=probe.getsockname()[1])


def external_api_url() -> str | None:
    """Return the address of the operator's own Prefect server, if he has named one."""
    return os.environ.get(API_URL_VARIABLE) or None


def client_environment(server: PrefectServer) -> Mapping[str, str]:
    """Return what a process sets before it imports prefect to speak to this server."""
    home = {"PREFECT_HOME": str(server.directory.prefect.absolute())}
    return {**QUIET, **home, API_URL_VARIABLE: server.api_url}
