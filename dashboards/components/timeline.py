"""What has happened to a thing, and what is expected: as a list, or as steps side by side."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dashboards.markup import EMPTY, Html, html, join
from dashboards.theme import Tone
from dashboards.wording import moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Something that has happened, is happening, or is expected."""

    title: str
    at: datetime | None = None
    note: str | Html = ""
    tone: Tone | Literal["expected"] = "success"


def timeline(steps: Iterable[Step]) -> Html:
    """Return the steps below each other, each with its time and note."""
    items = join(
        html(
            '<li class="is-{}"><i></i><div class="head"><b>{}</b>{}</div><div class="note">{}</div>'
            "</li>",
            step.tone, step.title, moment(step.at) if step.at else EMPTY, step.note,
        )
        for step in steps
    )  # fmt: skip
    return html('<ol class="timeline">{}</ol>', items)


def steps(found: Iterable[Step]) -> Html:
    """Return the steps side by side: done ones green, the present one blue, the rest grey."""
    kinds = {"success": "done", "info": "now", "error": "error", "warning": "now"}
    items = join(
        html(
            '<li class="is-{}"><i></i>{}<span class="note">{}{}</span></li>',
            kinds.get(step.tone, step.tone), step.title,
            html("{} ", moment(step.at)) if step.at else EMPTY, step.note,
        )
        for step in found
    )  # fmt: skip
    return html('<ol class="steps" tabindex="0" aria-label="Steps">{}</ol>', items)


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Return names with values; a pair whose value is None is left out."""
    items = join(
        html("<dt>{}</dt><dd>{}</dd>", name, value) for name, value in pairs if value is not None
    )
    return html('<dl class="facts">{}</dl>', items)
