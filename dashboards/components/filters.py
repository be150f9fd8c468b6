"""Filters of lists, all of them in the address: tabs, search, choices, chips."""

from collections.abc import Iterable, Mapping, Sequence

from dashboards.components.table import hidden_fields
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.places import Place
from dashboards.theme import icon


def tabs(
    place: Place, names: Mapping[str, str], *, counts: Mapping[str, int], name: str = "tab"
) -> Html:
    """Return links that set one filter; the first is chosen where the address has none."""
    first = next(iter(names))
    chosen = place.get(name) or first
    links = join(
        html(
            '<a href="{}"{}>{}<span class="count">{}</span></a>',
            place.link(**{name: None if key == first else key}),
            attributes(aria_current="page" if key == chosen else None), words,
            f"{counts.get(key, 0):,}",
        )
        for key, words in names.items()
    )  # fmt: skip
    return html('<nav class="tabs" aria-label="Filter">{}</nav>', links)


def search_form(
    place: Place, *, label: str, hint: str, choices: Html = EMPTY, names: Sequence[str] = ()
) -> Html:
    """Return a search field and choices that take effect when sent; other filters are kept.

    `names` are the filters that the choices set.
    """
    return html(
        '<form class="filters" role="search" method="get" action="{path}">{hidden}'
        '<label class="search"><span class="unseen">{label}</span>{icon}'
        '<input type="search" name="q" value="{q}" placeholder="{hint}" autocomplete="off" '
        'spellcheck="false" maxlength="400"></label>{choices}'
        '<button class="unseen" type="submit" tabindex="-1">Search</button></form>',
        path=place.path, hidden=hidden_fields(place, "q", *names), label=label,
        icon=icon("search"), q=place.get("q"), hint=hint, choices=choices,
    )  # fmt: skip


def choice(
    place: Place, name: str, label: str, values: Iterable[tuple[str, str]], *, every: str
) -> Html:
    """Return a selection list that sets one filter at once; `every` is the words for none."""
    chosen = place.get(name)
    options = [html('<option value="">{}</option>', every)] + [
        html('<option value="{}"{}>{}</option>', value, attributes(selected=value == chosen), words)
        for value, words in values
    ]
    return html(
        '<label><span class="unseen">{}</span><select name="{}" data-submit>{}</select></label>',
        label, name, join(options),
    )  # fmt: skip


def chips(place: Place, words: Mapping[str, str]) -> Html:
    """Return the filters in force, each with a link that removes it, and one for all of them.

    `words` are the names of the filters that are shown, as people call them.
    """
    used = [name for name in words if place.get(name)]
    if not used:
        return EMPTY
    shown = join(
        html(
            '<span class="chip">{} {}<a href="{}" aria-label="Remove the filter {}">{}</a></span>',
            words[name], place.get(name), place.link(**{name: None}), words[name], icon("close"),
        )
        for name in used
    )  # fmt: skip
    return html('<div class="chips">{}{}</div>', shown, clear_link(place, used))


def clear_link(place: Place, names: Iterable[str]) -> Html:
    """Return the link that removes these filters."""
    return html(
        '<a class="button small quiet" href="{}">Clear filters</a>',
        place.link(**dict.fromkeys(names)),
    )
