"""The frame of every page."""

import panel as pn
import panel_material_ui  # noqa: F401 - its files are found while the dashboard is mounted
from panel.viewable import Viewable

from dashboards.context import DashboardContext
from dashboards.visitor import current_visitor


def build(context: DashboardContext) -> Viewable:
    """Return a page for the visitor who asks."""
    return pn.pane.Str(f"{current_visitor().name}: {context.directory.root}")
