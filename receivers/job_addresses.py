"""The addresses of jobs, whose names may hold anything, "/" too."""

import re
from typing import Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

_BEFORE: Final = "/api/jobs/"
_NAME: Final = "{job:path}"
_OF_A_JOB: Final = frozenset(
    {
        "results", "rejected", "cancel", "pause", "resume", "flush", "redeliver",
        "redeliver-failed",
    }
)  # fmt: skip
"""What can be asked of a job or done to it, as the last part of an address."""


class JobRoute(APIRoute):
    """A route of one job; in its name `%2F` is never taken for the end of the name.

    A name with a plain "/" is understood too, as proxies may decode what they pass on, unless it
    ends as an address of another route does.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether this route is meant."""
        match, child = super().matches(scope)
        if match is not Match.NONE and not self._is_meant(scope):
            return Match.NONE, {}
        return match, child

    def _is_meant(self, scope: Scope) -> bool:
        if not self.path.startswith(_BEFORE + _NAME) or "raw_path" not in scope:
            return True
        written = _with_plain_slashes_only(scope["raw_path"]).removeprefix(_BEFORE)
        suffix = self.path.removeprefix(_BEFORE + _NAME)
        if suffix:
            return bool(written.endswith(suffix))
        name, slash, last = written.rpartition("/")
        return not (name and slash and last in _OF_A_JOB)


def _with_plain_slashes_only(raw_path: bytes) -> str:
    """Return the address as it reads, with a "?" for every slash that was written `%2F`."""
    return unquote(re.sub("%2f", "%3F", raw_path.decode("latin-1"), flags=re.IGNORECASE))
