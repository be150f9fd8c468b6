"""Which page is shown where: one line a page."""

from collections.abc import Mapping
from typing import Final

from dashboards.page import Page
from dashboards.pages import (
    analytics,
    audit,
    batch,
    batches,
    deliveries,
    find,
    held_file,
    job,
    jobs,
    missing,
    overview,
    request,
    requests,
    settings,
    upload,
)
from dashboards.places import Place

LISTS: Final[Mapping[str, Page]] = {
    "overview": overview.PAGE,
    "batches": batches.PAGE,
    "requests": requests.PAGE,
    "find": find.PAGE,
    "deliveries": deliveries.PAGE,
    "audit": audit.PAGE,
    "jobs": jobs.PAGE,
    "analytics": analytics.PAGE,
    "upload": upload.PAGE,
    "settings": settings.PAGE,
}
"""By the first part of the address: `/ui/batches`."""

DETAILS: Final[Mapping[str, Page]] = {
    "batches": batch.PAGE,
    "requests": request.PAGE,
    "jobs": job.PAGE,
    "upload": held_file.PAGE,
}
"""By the first part of an address with an id: `/ui/batches/12`."""


def page_of(place: Place) -> Page:
    """Return the page that shows a place; one that says so if there is none."""
    known = LISTS if place.id is None else DETAILS
    return known.get(place.page, missing.PAGE)
