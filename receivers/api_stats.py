"""The figures of the dashboard over REST: each one by its name."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel

from batching.errors import BadInput
from receivers.answers import api_error
from receivers.context import WebContext, web_context
from receivers.figures_csv import figures_csv
from receivers.paging import Name, Since, Word, not_found, reading
from receivers.views import ERRORS
from storage.reports.catalogue import REPORTS, ReportQuery, report_named, run_report
from storage.reports.terms import Terms

router = APIRouter(tags=["stats"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
_LONGEST_BUCKET_SECONDS = 31 * 86_400


class StatsEntry(BaseModel):
    """A report that can be asked for."""

    name: str
    description: str
    parameters: list[str]


class StatsList(BaseModel):
    """All reports."""

    items: list[StatsEntry]


class StatsAnswer(BaseModel):
    """What a report says."""

    name: str
    as_of: datetime
    data: Any
    """null before anything was taken in."""


class StatsFormat(StrEnum):
    """What figures come as."""

    JSON = "json"
    CSV = "csv"


@router.get("/api/stats")
def list_stats() -> StatsList:
    """Return the reports with what they say and their parameters."""
    return StatsList(
        items=[
            StatsEntry(
                name=report.name,
                description=report.description,
                parameters=list(report.parameters),
            )
            for report in REPORTS.values()
        ]
    )


@router.get(
    "/api/stats/{name}",
    response_model=StatsAnswer,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def show_stats(
    *,
    context: Context,
    name: Name,
    since: Since = None,
    until: Since = None,
    bucket_seconds: Annotated[int | None, Query(ge=60, le=_LONGEST_BUCKET_SECONDS)] = None,
    model: Word = None,
    job: Word = None,
    limit: Annotated[int | None, Query(ge=1, le=1_000)] = None,
    format: Annotated[  # noqa: A002 - the name of the parameter in the address
        StatsFormat, Query(description="`csv` has a row for each piece, empty where unknown")
    ] = StatsFormat.JSON,
) -> StatsAnswer | Response:
    """Return what a report says; times are in UTC, money in USD, null is unknown."""
    report = report_named(name)
    if report is None:
        raise not_found(f"no report is called {name!r}; /api/stats lists them all")
    query = ReportQuery(
        since=since, until=until, bucket_seconds=bucket_seconds, model=model, job=job, limit=limit
    )
    with reading(context) as reader:
        as_of = datetime.now(UTC)
        try:
            data = run_report(reader, report, query, _terms(context)) if reader else None
        except BadInput as error:
            raise api_error(422, "invalid_parameter", "Invalid value", str(error)) from None
    if format is StatsFormat.CSV:
        headers = {"Content-Disposition": f'attachment; filename="{report.name}.csv"'}
        return Response(figures_csv(data), media_type="text/csv", headers=headers)
    return StatsAnswer(name=name, as_of=as_of, data=data)


def _terms(context: WebContext) -> Terms:
    """Return the terms of these settings, whose tables are read once."""
    known = _known.get(id(context.settings))
    if known is None or known.settings is not context.settings:
        known = _known[id(context.settings)] = Terms.of(context.settings)
    return known


_known: dict[int, Terms] = {}
