"""The doctor over REST: what is wrong with the data directory; mending is done by `obm doctor`."""

from collections.abc import Sequence
from threading import Lock
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from batching.errors import ConfigurationError
from receivers.answers import api_error
from receivers.context import WebContext, web_context
from receivers.views import ERRORS
from storage.doctor.diagnosis import examine
from storage.doctor.findings import Check, Report, Severity
from storage.snapshots import ledger_generation

router = APIRouter(tags=["state"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]


class FindingView(BaseModel):
    """One kind of wrong, with the first 20 of what it is wrong for."""

    check: Check
    code: str
    severity: Severity
    ids: Sequence[str]
    count: int
    explanation: str
    remedy: str
    repairable: bool


class ReportView(BaseModel):
    """What one examination has shown."""

    healthy: bool
    at: str
    seconds: float
    findings: Sequence[FindingView]
    notes: Sequence[str]
    counted: dict[str, int]


@router.get("/api/doctor", response_model=ReportView)
def show_doctor(context: Context) -> dict[str, Any]:
    """Return everything that is wrong; examined anew only after the ledger has changed."""
    try:
        report = _doctor.report(context)
    except ConfigurationError as error:
        raise api_error(503, "ledger_unreadable", "Ledger Unreadable", str(error)) from None
    return {
        "healthy": report.is_healthy,
        "at": report.at.isoformat(),
        "seconds": report.seconds,
        "findings": [
            {name: getattr(finding, name) for name in FindingView.model_fields}
            for finding in report.findings
        ],
        "notes": report.notes,
        "counted": report.counted,
    }


class _Doctor:
    """Examines one directory at a time and remembers the last report of each.

    Routes run in threads: whoever asks during an examination waits for its report.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._reports: dict[str, tuple[str, Report]] = {}

    def report(self, context: WebContext) -> Report:
        """Return the report on the ledger as it is."""
        key = str(context.directory.root)
        with self._lock:
            generation = ledger_generation(context.directory)
            known, report = self._reports.get(key, (None, None))
            if report is None or known != generation:
                report = examine(context.directory)
                self._reports[key] = (generation, report)
            return report


_doctor: Final = _Doctor()
