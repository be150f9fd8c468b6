"""Analytics: cost, tokens, throughput, times and failures over a stretch of time."""

from typing import Final

from dashboards.components.filters import chips, choice
from dashboards.components.notices import notice
from dashboards.components.table import hidden_fields
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look, Page
from dashboards.pages import analytics_money as money
from dashboards.pages import analytics_work as work
from dashboards.pages.analytics_choice import PRESETS, choice_of
from storage.jobs import job_names
from storage.reports.batches import models_of_batches

_WORDS: Final = {"model": "Model:", "job": "Job:", "from": "From:", "to": "To:"}
_OFFERED_JOBS: Final = 200


def filters(look: Look) -> Html:
    """Return the choices of time, model and job, and those in force."""
    place, chosen = look.place, choice_of(look.place, look.at)
    presets = join(
        html(
            '<a href="{}"{}>{}</a>', place.link(**{"preset": name, "from": None, "to": None}),
            attributes(aria_current="page" if name == chosen.preset else None), words,
        )
        for name, words in PRESETS.items()
    )  # fmt: skip
    models = choice(
        place, "model", "Model", [(one, one) for one in models_of_batches(look.reader)],
        every="All models",
    )  # fmt: skip
    jobs = join(
        html('<option value="{}"></option>', name)
        for name in reversed(job_names(look.reader)[-_OFFERED_JOBS:])
    )
    fields = html(
        '<form class="filters" method="get" action="{path}">{hidden}'
        '<label class="day">From <input type="date" name="from" value="{first}"></label>'
        '<label class="day">to <input type="date" name="to" value="{last}"></label>{models}'
        '<label><span class="unseen">Job</span><input type="text" name="job" value="{job}" '
        'list="jobs" placeholder="All jobs" autocomplete="off" maxlength="200"></label>'
        '<datalist id="jobs">{jobs}</datalist><button class="button" type="submit">Show</button>'
        "</form>",
        path=place.path, hidden=hidden_fields(place, "from", "to", "model", "job"),
        first=place.get("from"), last=place.get("to"), models=models, job=place.get("job"),
        jobs=jobs,
    )  # fmt: skip
    problem = notice(chosen.problem, tone="warning") if chosen.problem else EMPTY
    return html(
        '<div class="choices"><nav class="presets" aria-label="Time">{}</nav>{}</div>{}{}',
        presets, fields, chips(place, _WORDS), problem,
    )  # fmt: skip


PAGE: Final = Page(
    menu="analytics",
    title="Analytics",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Analytics</h1></div>'
        '<div data-tile="filters" class="grid"></div><div data-tile="totals"></div>'
        '<div class="grid two"><div data-tile="cost"></div><div data-tile="tokens"></div></div>'
        '<div data-tile="parts"></div><div data-tile="flow"></div>'
        '<div class="grid two"><div data-tile="waits"></div><div data-tile="turnaround"></div>'
        '</div><div class="grid two"><div data-tile="fill"></div>'
        '<div data-tile="deliveries"></div></div><div data-tile="endings"></div>'
        '<div data-tile="errors"></div><div data-tile="estimates"></div></div>'
    ),
    tiles={
        "filters": filters,
        "totals": money.totals,
        "cost": money.cost,
        "tokens": money.tokens,
        "parts": money.parts,
        "flow": work.flow,
        "waits": work.waits,
        "turnaround": work.turnaround,
        "fill": work.fill,
        "deliveries": work.deliveries,
        "endings": work.endings,
        "errors": work.errors,
        "estimates": work.estimates,
    },
)
