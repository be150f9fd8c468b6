"""What all sessions of one process share."""

import os
from dataclasses import dataclass
from typing import Self

from batching.settings import Settings
from dashboards.context import DashboardContext
from dashboards.live import Live
from storage.directory import DataDirectory
from storage.ledger import Ledger
from storage.reports.terms import Terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The data directory, how it is set up, and the one look-out for what changes in it."""

    settings: Settings
    directory: DataDirectory
    terms: Terms
    live: Live

    @classmethod
    def of(cls, context: DashboardContext) -> Self:
        """Return the site of a web process."""
        return cls(
            settings=context.settings,
            directory=context.directory,
            terms=Terms.of(context.settings),
            live=Live(context.directory),
        )

    def ledger(self) -> Ledger:
        """Return the ledger to write to; call it in a thread."""
        return Ledger.open(self.directory, memory_bytes=self.settings.ledger_memory_bytes)

    @property
    def prefect_url(self) -> str | None:
        """Where the pages of Prefect are; None if that is not known."""
        return prefect_pages(self.settings)


def prefect_pages(settings: Settings) -> str | None:
    """Return the address of Prefect's own pages."""
    api = os.environ.get("PREFECT_API_URL", "")
    if api:
        return api.removesuffix("/").removesuffix("/api")
    return f"http://127.0.0.1:{settings.prefect_port}" if settings.prefect_port else None
