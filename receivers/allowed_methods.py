"""Which methods an address answers: for OPTIONS, and for who has tried another one."""

from typing import Final

from fastapi import Request
from starlette.routing import Match

_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def allowed_methods(request: Request) -> str:
    """Return the methods that this address answers, as the Allow header has them."""
    return ", ".join(method for method in _METHODS if _is_answered(request, method))


def _is_answered(request: Request, method: str) -> bool:
    # HEAD is made of GET before any route sees it.
    scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)
