"""One job: how far it is, what was taken in and refused, what it costs, its results."""

from typing import Any, Final

from dashboards.components.notices import empty, notice
from dashboards.components.table import button
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look, Page
from dashboards.pages import job_cards as cards
from dashboards.pages.job_words import all_actions, kinds, state_badge
from dashboards.pages.jobs import DEEDS
from dashboards.places import Place, link
from dashboards.wording import age, count_of, number
from storage.inbox import waiting_files
from storage.refused_lines import first_refused_lines, refused_of_job
from storage.reports.job_facts import job_with_facts

_TABS: Final = {"overview": "Overview", "sources": "Sources", "rejected": "Rejected lines"}
_SHOWN_LINES: Final = 200


def whole(look: Look) -> Html:
    """Return everything about the job, all from one report."""
    name = look.place.id or ""
    job = job_with_facts(look.reader, name=name, terms=look.site.terms)
    if job is None:
        return _missing(look)
    return html(
        '<div class="grid">{}{}{}{}</div>',
        _head(job, may_operate=look.visitor.may_operate), _waiting(job),
        _tabs(look.place, job), _body(look, job),
    )  # fmt: skip


def _head(job: cards.Job, *, may_operate: bool) -> Html:
    actions = all_actions(job) if may_operate else []
    return html(
        '<nav class="breadcrumb" aria-label="Breadcrumb"><a href="{}">Jobs</a> / {}</nav>'
        '<div class="page-head" data-id="{}"><h1 class="job-name">{}</h1>{} {}'
        '<span class="grow"></span>{}</div>',
        link("jobs"), job["name"], job["name"], job["name"], state_badge(job),
        kinds(job) if job["kinds"] else EMPTY,
        join((button(one, small=False) for one in actions), " "),
    )  # fmt: skip


def _waiting(job: cards.Job) -> Html:
    if job["paused"]:
        text = f"Paused: {count_of(job['pending'], 'request')} wait here until it is resumed."
        return notice(text, tone="warning")
    if not job["pending"]:
        return EMPTY
    waiting = count_of(job["pending"], "request")
    if job["flush_covers_all"]:
        return notice(f"{waiting} go with the next batch, at once.")
    text = html(
        "{} wait for a full batch since {}: that makes batches few and large. "
        "“Send now” does not wait.", waiting, age(job["next_at"], kind="for"),
    )  # fmt: skip
    return notice(text)


def _tabs(place: Place, job: cards.Job) -> Html:
    counts = {"sources": job["sources"], "rejected": job["rejected"]}
    chosen = _tab(place)
    links = join(
        html(
            '<a href="{}"{}>{}{}</a>',
            place.link(tab=None if key == "overview" else key),
            attributes(aria_current="page" if key == chosen else None), words,
            html('<span class="count">{}</span>', number(counts[key])) if key in counts else EMPTY,
        )
        for key, words in _TABS.items()
    )  # fmt: skip
    return html('<nav class="tabs" aria-label="Parts of the job">{}</nav>', links)


def _tab(place: Place) -> str:
    return place.get("tab") if place.get("tab") in _TABS else "overview"


def _body(look: Look, job: cards.Job) -> Html:
    tab = _tab(look.place)
    if tab == "sources":
        return cards.sources(job["source_list"])
    if tab == "rejected":
        return _rejected(look, job)
    return html(
        '{}<div class="grid three">{}{}<div class="grid last-grows">{}{}</div></div>'
        '<div class="grid wide">{}{}</div>',
        cards.progress(job), cards.about(job), cards.cost(job), cards.results(job),
        cards.delivery(job), cards.models(job), cards.errors(job),
    )  # fmt: skip


def _rejected(look: Look, job: cards.Job) -> Html:
    sources = refused_of_job(look.reader, job["name"])
    lines: list[dict[str, Any]] = first_refused_lines(
        look.site.directory, sources, most=_SHOWN_LINES
    )
    return cards.rejected(job, lines)


def _missing(look: Look) -> Html:
    name = look.place.id
    staged = waiting_files(look.site.directory)
    if staged:
        lines = join(html("<li><b>{}</b> {}</li>", one.name, one.remark) for one in staged[:5])
        text = html(
            "{} appears here as soon as its file has been taken in, which takes a few seconds "
            '<ul class="plain">{}</ul>', name, lines,
        )  # fmt: skip
        return empty("On its way", text, symbol="upload", more=_back())
    said = f"There is no job {name}: the name is wrong, or its file has not arrived."
    return empty("No such job", said, symbol="search", more=_back())


def _back() -> Html:
    return html('<a class="button" href="{}">All jobs</a>', link("jobs"))


PAGE: Final = Page(
    menu="jobs",
    title="{id}",
    layout=Html('<div class="page"><div data-tile="whole"></div></div>'),
    tiles={"whole": whole},
    deeds=DEEDS,
)
