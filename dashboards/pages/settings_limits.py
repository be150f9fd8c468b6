"""How many tokens may be enqueued for each model, and what a token costs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batching.prices import Price
from batching.settings_in_force import variable_of
from dashboards.components.notices import empty
from dashboards.components.table import Action, Column, Table, table_html
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.places import link
from dashboards.theme import Tone, badge, bar
from dashboards.wording import UNKNOWN, age, compact, count_of, number
from storage.reports.switches import lane_limits

_SOURCES: Final[Mapping[str, tuple[str, Tone, str]]] = {
    "operator": ("Cap", "info", "an operator has set it here; it counts before everything else"),
    "override": ("Environment", "info", "by OBM_TOKEN_LIMITS; only a cap counts before it"),
    "learned": ("Learned", "success", "the provider named it in a refusal; kept for a week"),
    "table": ("Table", "neutral", "OpenAI's published figure for tier 1; other tiers have more"),
    "none": ("None known", "neutral", "no limit until the provider refuses"),
}
_NEARLY_FULL: Final = 0.9


def limits(look: Look) -> Html:
    """Return the limit in force of each lane, where it comes from, and its use now."""
    lanes = lane_limits(look.reader, terms=look.site.terms)
    if not lanes:
        text = "The models that requests name appear here with their limits."
        return html('<section class="card">{}</section>', empty("No model yet", text))
    return table_html(LIMITS, lanes, may_operate=look.visitor.may_operate)


def _model(lane: Mapping[str, Any]) -> Html:
    return html(
        '<span class="mono">{}</span><span class="sub">{} · {}</span>',
        lane["model"], lane["endpoint"], lane["account"],
    )  # fmt: skip


def _limit(lane: Mapping[str, Any]) -> Html:
    tokens = lane["token_limit"]
    if tokens is None:
        return Html('<span class="muted">no limit known</span>')
    return html('{} <span class="muted">({})</span>', number(tokens), compact(tokens))


def _source(lane: Mapping[str, Any]) -> Html:
    words, tone, title = _SOURCES[lane["limit_source"]]
    return badge(words, tone, title=title)


def _use(lane: Mapping[str, Any]) -> Html:
    used, limit = lane["enqueued_tokens"], lane["token_limit"]
    text = f"{compact(used)} in {count_of(lane['batches'], 'batch', 'batches')}"
    if not limit:
        return html('<span class="nowrap">{}</span>', text)
    is_full = (lane["used_share"] or 0) >= _NEARLY_FULL
    return html(
        '<span class="sub nowrap">{}</span>{}', text,
        bar(used, limit, label=f"{lane['model']}: {text}",
            tone="warning" if is_full else "primary"),
    )  # fmt: skip


def _learned(lane: Mapping[str, Any]) -> Html:
    if lane["learned_limit"] is None:
        return Html('<span class="muted">&ndash;</span>')
    return html(
        '{}<span class="sub">{}</span>', number(lane["learned_limit"]), age(lane["learned_at"])
    )


def _cap_link(lane: Mapping[str, Any]) -> Html:
    words = "Change" if lane["limit_source"] == "operator" else "Set a cap"
    address = link("settings", tab="limits", model=lane["model"])
    return html('<a class="nowrap" href="{}">{}</a>', address, words)


def _actions(lane: Mapping[str, Any]) -> Sequence[Action]:
    return [Action(act="forget-limit", words="Forget learned")] if lane["learned_limit"] else []


LIMITS: Final = Table(
    label="Token limits",
    row_id=lambda lane: lane["lane_id"],
    row_actions=_actions,
    columns=(
        Column(title="Model", kind="wide", cell=_model),
        Column(title="Limit in force", kind="number", cell=_limit),
        Column(title="Where from", cell=_source),
        Column(title="In use now", cell=_use),
        Column(title="Learned", kind="number", cell=_learned),
        Column(title="Cap", cell=_cap_link),
    ),
)


def prices(look: Look) -> Html:
    """Return the price table: what is used here first, an unknown price said as such."""
    table = look.site.terms.prices
    models = {lane["model"] for lane in lane_limits(look.reader, terms=look.site.terms)}
    used = [_row(model, table.price_of(model), is_used=True) for model in sorted(models)]
    others = [
        _row(model, price, is_used=False)
        for model, price in sorted(table.prices.items())
        if model not in models
    ]
    path = look.site.settings.price_table
    variable = variable_of("price_table")
    where = (
        html("from <code>{}</code>, set by <code>{}</code>", path, variable)
        if path
        else html(
            "shipped with the product; <code>{}</code> names a CSV that replaces it", variable
        )
    )
    head = html(
        '<p class="muted small">USD per 1,000,000 tokens as of <b>{}</b>, {}. A batch costs half. '
        "Unofficial: compare with your provider's price page.</p>",
        table.as_of or "an unknown date", where,
    )  # fmt: skip
    return html(
        '<div class="grid">{}{}{}</div>',
        head,
        _unpriced(used),
        table_html(PRICES, [*used, *others]),
    )


def _unpriced(used: Sequence[Mapping[str, Any]]) -> Html:
    names = [row["model"] for row in used if row["price"] is None]
    if not names:
        return EMPTY
    shown = join((html("<code>{}</code>", name) for name in names), ", ")
    return html(
        '<div class="notice is-warning"><span class="grow">No price is known of {}. What they cost '
        "is shown as unknown, never as 0.</span></div>",
        shown,
    )


def _row(model: str, price: Price | None, *, is_used: bool) -> dict[str, Any]:
    return {"model": model, "price": price, "is_used": is_used}


def _usd(row: Mapping[str, Any], name: str, *, share: str = "1") -> Html:
    price = row["price"]
    value = None if price is None else getattr(price, name)
    if value is None:
        return html('<span class="muted">{}</span>', UNKNOWN)
    return html("${}", _plain(value / 2 if share == "half" else value))


def _plain(value: Any) -> str:
    text = f"{value:,.4f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest:0<2}"


def _name(row: Mapping[str, Any]) -> Html:
    mark = badge("used here", "info") if row["is_used"] else EMPTY
    return html('<span class="mono">{}</span> {}', row["model"], mark)


PRICES: Final = Table(
    label="Prices",
    row_id=lambda row: row["model"],
    columns=(
        Column(title="Model", kind="wide", cell=_name),
        Column(title="Input", kind="number", cell=lambda row: _usd(row, "input")),
        Column(title="Cached input", kind="number", cell=lambda row: _usd(row, "cached_input")),
        Column(title="Output", kind="number", cell=lambda row: _usd(row, "output")),
        Column(title="Input in a batch", kind="number",
               cell=lambda row: _usd(row, "input", share="half")),
        Column(title="Output in a batch", kind="number",
               cell=lambda row: _usd(row, "output", share="half")),
    ),
)  # fmt: skip
