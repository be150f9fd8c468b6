"""The web role: the REST API and the dashboard, in one process or in two."""

import contextlib
import socket
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from batching.errors import ConfigurationError
from batching.settings import Settings
from deployments.dashboard import Dashboard
from receivers.application import build_application
from receivers.browser_guard import is_loopback
from receivers.context import DASHBOARD_ROLE, ROLE, build_context
from receivers.serving import end_cleanly_on_signals, listen, serve
from storage.directory import DataDirectory
from storage.held_files import remove_forgotten_files
from storage.intake_log import seal_abandoned_logs
from storage.uploaded_files import remove_abandoned_uploads


class Part(StrEnum):
    """What a web process of its own serves if not both."""

    API = "api"
    DASHBOARD = "dashboard"
    """Answers the API too, which its pages use; under its own name, so that both can be there."""


_WHO_ANSWERS: Final[Mapping[Part | None, str]] = {
    None: "the API and the dashboard answer",
    Part.API: "the API answers",
    Part.DASHBOARD: "the dashboard answers",
}


def run_web(settings: Settings, only: Part | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code of the process."""
    end_cleanly_on_signals()
    directory = DataDirectory(settings.data_dir.absolute())
    directory.create()
    context = build_context(settings, directory, DASHBOARD_ROLE if only is Part.DASHBOARD else ROLE)
    if not context.tokens.now() and not is_loopback(settings.host):
        raise ConfigurationError(
            f"OBM_HOST is {settings.host}, which other machines reach, and there is no token: make "
            "one with `obm token create NAME --scope submit --scope read` (with Docker: `docker "
            "compose run --rm web obm token create …`), or set OBM_HOST to 127.0.0.1"
        )
    with contextlib.closing(_listen(settings, only)) as listener:
        context.health.report("starting")
        seal_abandoned_logs(directory)
        remove_abandoned_uploads(directory)
        remove_forgotten_files(directory)
        context.known_ids.load()
        dashboard = None if only is Part.API else Dashboard(context)
        besides = [] if dashboard is None else [dashboard.run]
        application = build_application(context, dashboard)
        serve(context, application, listener, besides, who_answers=_WHO_ANSWERS[only])
    return 0


def _listen(settings: Settings, only: Part | None) -> socket.socket:
    if only is Part.DASHBOARD:
        return listen(settings.host, settings.dashboard_port, setting="OBM_DASHBOARD_PORT")
    return listen(settings.host, settings.port, setting="OBM_PORT")
