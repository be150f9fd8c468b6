"""What every page loads of Bokeh and Panel."""

from typing import Any, Final

from bokeh.resources import Component
from bokeh.server.views.static_handler import StaticHandler
from panel.io.resources import Resources
from panel.io.state import state

_COMPONENTS: Final[list[Component]] = ["bokeh", "bokeh-widgets", "bokeh-tables"]
_found: Final[dict[tuple[str | None, str], list[Any]]] = {}


def page_resources(absolute_url: str | None = None) -> Resources:
    """Return what pages load of Bokeh: no formulas, no WebGL; together they are 0.7 MB packed."""
    del absolute_url  # pages load their files from where they come themselves
    return _FoundOnce(  # type: ignore[no-untyped-call]  # Panel has no types
        mode="server",
        root_url="/",
        path_versioner=StaticHandler.append_version,
        components=list(_COMPONENTS),
    )


class _FoundOnce(Resources):
    """Finds the files of components once, not for each page: they never change.

    Panel asks the file system about each of its hundreds of components, which takes about as long
    as all the rest of a page, while nothing else is served.
    """

    def extra_resources(self, resources: list[Any], resource_type: str) -> None:
        """Add the files of that type which components need."""
        key = (state.rel_path, resource_type)
        if key not in _found:
            found: list[Any] = []
            super().extra_resources(found, resource_type)  # type: ignore[no-untyped-call]  # as above
            _found[key] = found
        resources += [file for file in _found[key] if file not in resources]
