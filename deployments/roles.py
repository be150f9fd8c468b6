"""`obm up`: starts every role in its own process, keeps them alive, ends them together."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType

from rich.console import Console

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.children import Child, Role
from deployments.prefect_server import (
    PrefectServer,
    choose_server,
    client_environment,
    external_api_url,
)
from deployments.supervision import RoleFailed, Supervisor
from receivers.rabbitmq_source import Source, is_wanted
from storage.directory import DataDirectory
from storage.health import product_version, read_health
from storage.locks import exclusive_lock_if_free

_log = logging.getLogger(__name__)

STOP_SECONDS = 9.0
"""Ten are promised; the rest is for ending ourselves, on a busy machine too."""
_LOOK_SECONDS = 0.2

PIPELINE_ARGV = (sys.executable, "-m", "deployments.cli", "pipeline")
API_ARGV = (sys.executable, "-m", "deployments.cli", "web", "--only", "api")
DASHBOARD_ARGV = (sys.executable, "-m", "deployments.cli", "web", "--only", "dashboard")
CONSUMER_ARGV = (sys.executable, "-m", "deployments.cli", "consume")


def build_roles(
    directory: DataDirectory,
    server: PrefectServer | None,
    pipeline_argv: Sequence[str] = PIPELINE_ARGV,
) -> tuple[Role, ...]:
    """Return the roles that are always there.

    The pipeline waits for its server, which takes the longest; the others start meanwhile.
    """
    clients = {} if server is None else client_environment(server)
    servers = () if server is None else (server.role(),)
    pipeline = Role(
        name="pipeline",
        argv=tuple(pipeline_argv),
        ready_when=_says_running(directory, "pipeline"),
        after=servers[0].name if servers else None,
        environment={**os.environ, **clients},
    )
    return (*servers, pipeline, *_web_roles(directory))


def _web_roles(directory: DataDirectory) -> tuple[Role, ...]:
    """Return the API and the dashboard: apart, so that open pages keep no request waiting."""
    return tuple(
        Role(name=name, argv=argv, ready_when=_says_running(directory, name))
        for name, argv in (("web", API_ARGV), ("dashboard", DASHBOARD_ARGV))
    )


def consumer_roles(directory: DataDirectory, settings: Settings) -> tuple[Role, ...]:
    """Return the consumer if there is something to consume; ConfigurationError says what is wrong.

    A broker that is away keeps nobody waiting: it has started once it says anything.
    """
    if not is_wanted(settings):
        return ()
    Source.of(settings)
    asked_since = datetime.now(UTC)

    def has_begun() -> bool:
        health = read_health(directory.health, "consumer")
        return health is not None and health.since > asked_since

    return (Role(name="consumer", argv=CONSUMER_ARGV, ready_when=has_begun),)


def run_roles(settings: Settings, pipeline_argv: Sequence[str] = PIPELINE_ARGV) -> int:
    """Run all roles until SIGINT or SIGTERM; return the exit code of the process."""
    directory = DataDirectory(settings.data_dir.absolute())
    directory.create()
    consumers = consumer_roles(directory, settings)
    _check_ports(settings)
    with exclusive_lock_if_free(directory.locks / "up.lock") as is_ours:
        if not is_ours:
            raise ConfigurationError(
                f"`obm up` runs already on {directory.root}: stop it first, or set OBM_DATA_DIR "
                "to another folder"
            )
        outside = external_api_url() is not None
        server = None if outside else choose_server(directory, settings.prefect_port)
        roles = (*build_roles(directory, server, pipeline_argv), *consumers)
        return _keep(roles, lambda: _welcome(directory, server))


def _keep(roles: Sequence[Role], when_ready: Callable[[], None]) -> int:
    supervisor = Supervisor()
    with _stop_on_signals() as stop_asked:
        try:
            _start(supervisor, roles, stop_asked)
            if not stop_asked():
                when_ready()
            while not stop_asked():
                supervisor.look_after()
                time.sleep(_LOOK_SECONDS)
        except RoleFailed as failure:
            _log.error("%s", failure)
            return failure.exit_code
        finally:
            supervisor.stop(STOP_SECONDS)
    return 0


def _start(supervisor: Supervisor, roles: Sequence[Role], stop_asked: Callable[[], bool]) -> None:
    """Start each role as soon as the one that it needs is ready, and wait for all of them."""
    waiting = list(roles)
    started: list[Child] = []
    ready: set[str | None] = {None}
    while not stop_asked() and len(ready) <= len(roles):
        started += [supervisor.start(role) for role in waiting if role.after in ready]
        waiting = [role for role in waiting if role.after not in ready]
        supervisor.look_after()
        ready |= {child.role.name for child in started if child.is_ready}
        time.sleep(_LOOK_SECONDS)


def _check_ports(settings: Settings) -> None:
    if settings.port == settings.dashboard_port != 0:
        raise ConfigurationError(
            f"OBM_PORT and OBM_DASHBOARD_PORT are both {settings.port}, and the API and the "
            "dashboard are two processes here: set one of them to another port"
        )


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether SIGINT or SIGTERM has come."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _says_running(directory: DataDirectory, role: str) -> Callable[[], bool]:
    asked_since = datetime.now(UTC)

    def says_running() -> bool:
        health = read_health(directory.health, role)
        return health is not None and health.state == "running" and health.since > asked_since

    return says_running


def _welcome(directory: DataDirectory, server: PrefectServer | None) -> None:
    prefect = server.ui_url if server else (external_api_url() or "").removesuffix("/api")
    Console().print(
        f"[bold]OpenAI Batch Manager {product_version()}[/] is running.\n"
        f"  Put request files into  {directory.inbox}\n"
        f"  Results appear in       {directory.outbox}\n"
        f"  Dashboard               {_url_of(directory, 'dashboard')}/ui\n"
        f"  API, with a page to try {_url_of(directory, 'web')}/api/swaggerui\n"
        f"  Runs and schedules      {prefect}\n"
        f"  All data is kept in     {directory.root}\n"
        "Stop with Ctrl-C: nothing is lost, the next start goes on.",
        highlight=False,
        soft_wrap=True,
    )


def _url_of(directory: DataDirectory, role: str) -> str:
    """Return where a web process says that it answers: port 0 stands for any."""
    health = read_health(directory.health, role)
    return (health.message if health else None) or ""
