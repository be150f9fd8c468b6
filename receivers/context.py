"""What the parts of the web process share, and how a route gets at it."""

from dataclasses import dataclass
from functools import partial
from typing import cast

from fastapi import Request

from batching.access import LOCAL, AccessToken, Identity
from batching.requests import ReadingRules
from batching.settings import Settings
from receivers.group_commit import GroupCommit
from receivers.held_estimates import HeldEstimates
from receivers.intake_counts import IntakeCounts
from receivers.result_watch import ResultWatch
from receivers.uploads import Uploads
from receivers.watched_files import Watched
from storage.access_tokens import read_tokens
from storage.destination_table import reach_of
from storage.directory import DataDirectory
from storage.health import HealthFile
from storage.intake_gate import IntakePause, read_pause
from storage.intake_log import IntakeLog
from storage.known_ids import KnownIds
from storage.token_caps import token_caps_in
from storage.web_sessions import WebSession, read_sessions

ROLE = "web"
"""Serves the REST API, and the dashboard too where that has no process of its own."""
DASHBOARD_ROLE = "dashboard"
"""Serves the dashboard, and the API for its pages, beside a process of the other role."""
UPLOADS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class WebContext:
    """Everything that a request may need; one for the whole process."""

    settings: Settings
    directory: DataDirectory
    health: HealthFile
    known_ids: KnownIds
    commit: GroupCommit
    uploads: Uploads
    estimates: HeldEstimates
    counts: IntakeCounts
    results: ResultWatch
    tokens: Watched[tuple[AccessToken, ...]]
    sessions: Watched[tuple[WebSession, ...]]
    pause: Watched[IntakePause | None]
    rules: Watched[ReadingRules]


def build_context(settings: Settings, directory: DataDirectory, role: str = ROLE) -> WebContext:
    """Return the context of a web process that works on this data directory in this role."""
    known_ids = KnownIds(directory, own_role=role)
    log = IntakeLog(
        directory,
        role=role,
        seal_seconds=settings.seal_seconds,
        seal_bytes=settings.seal_bytes,
    )
    destinations = settings.destinations_file or directory.root / "destinations.toml"
    rules = Watched(
        destinations, lambda: ReadingRules.of(settings, reach=reach_of(directory, settings))
    )
    return WebContext(
        settings=settings,
        directory=directory,
        health=HealthFile(directory.health, role),
        known_ids=known_ids,
        commit=GroupCommit(log, known_ids),
        uploads=Uploads(
            most_at_once=UPLOADS_AT_ONCE, timeout_seconds=settings.receive_timeout_seconds
        ),
        estimates=HeldEstimates(settings, rules.now, partial(token_caps_in, directory)),
        counts=IntakeCounts(),
        results=ResultWatch(directory),
        tokens=Watched(directory.tokens, lambda: read_tokens(directory)),
        sessions=Watched(directory.web_sessions, lambda: read_sessions(directory)),
        pause=Watched(directory.intake_pause, lambda: read_pause(directory)),
        rules=rules,
    )


def web_context(request: Request) -> WebContext:
    """Return the context; a dependency of routes."""
    return cast("WebContext", request.app.state.context)


def identity(request: Request) -> Identity:
    """Return who sent the request; a dependency of routes."""
    return cast("Identity", request.scope.get("identity", LOCAL))


def actor(request: Request) -> str:
    """Return who sent the request, for the audit trail; a dependency of routes."""
    return identity(request).actor
