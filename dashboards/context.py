"""What the pages of the dashboard share in one process."""

from dataclasses import dataclass

from batching.settings import Settings
from storage.directory import DataDirectory


@dataclass(frozen=True, kw_only=True, slots=True)
class DashboardContext:
    """What every session of the dashboard works on; one for the whole process."""

    settings: Settings
    directory: DataDirectory
