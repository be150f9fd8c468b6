"""Which addresses browsers open as pages, and how the dashboard learns who opens them."""

from typing import Final

from starlette.types import Scope

from batching.access import VISITOR_HEADER, Identity

PAGES: Final = "/ui"
LOGIN: Final = "/ui/login"
LOGOUT: Final = "/ui/logout"
_FILES: Final = "/static/"
_VISITOR: Final = VISITOR_HEADER.lower().encode()


def is_page(path: str) -> bool:
    """Return whether people look at what is there."""
    return path in {"/", PAGES} or path.startswith("/ui/")


def is_file_of_page(path: str) -> bool:
    """Return whether pages load it; there is no data in it."""
    return path.startswith(_FILES)


def is_of_dashboard(path: str) -> bool:
    """Return whether the dashboard answers there."""
    return is_page(path) or is_file_of_page(path)


def introduce(scope: Scope, identity: Identity) -> None:
    """Tell the dashboard who asks, whatever the request itself says about that."""
    others = [header for header in scope["headers"] if header[0] != _VISITOR]
    scope["headers"] = [*others, (_VISITOR, identity.as_header().encode())]
