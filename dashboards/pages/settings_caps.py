"""The caps that operators set on enqueued tokens: those there are, and a form for one more."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batching.settings_in_force import variable_of
from batching.token_limits import LONGEST_MODEL
from dashboards.components.confirm import Question
from dashboards.components.notices import card
from dashboards.components.table import Action, Column, Table, table_html
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.theme import bar
from dashboards.wording import age, compact, count_of, number
from storage.reports.switches import lane_limits, token_caps_report

_NEARLY_FULL: Final = 0.9


def caps(look: Look) -> Html:
    """Return the caps that are set, each with its use now; nothing without any."""
    rows = token_caps_report(look.reader, terms=look.site.terms)
    if not rows:
        return EMPTY
    return table_html(CAPS, rows, may_operate=look.visitor.may_operate)


def form(look: Look) -> Html:
    """Return the form for a cap, with the models that are known; operators only."""
    if not look.visitor.may_operate:
        return EMPTY
    return card(
        "Set a token cap",
        html(
            '<form class="new-cap" data-act="set-cap">'
            '<label class="field">Model, or how its name begins<input type="text" name="model" '
            'required maxlength="{}" autocomplete="off" list="known-models" value="{}" '
            'placeholder="gpt-4o-mini"></label><datalist id="known-models">{}</datalist>'
            '<label class="field">Tokens at a time<input type="text" name="tokens" required '
            'inputmode="numeric" autocomplete="off" maxlength="30" placeholder="2,000,000" '
            'data-tokens="cap"></label><output class="muted" data-tokens-of="cap"></output>'
            '<button type="submit" class="button primary">Set cap</button></form>'
            '<p class="muted small">For an account with a higher tier, or one that other programs '
            "use too. It counts at once, for each endpoint by itself, before <code>{}</code> and "
            "the published limits; the longest beginning of a name wins. What the provider names "
            "in a refusal after that lowers it.</p>",
            LONGEST_MODEL, look.place.get("model"), _known_models(look),
            variable_of("token_limits"),
        ),
        note="how much may be enqueued at the provider",
    )  # fmt: skip


def _known_models(look: Look) -> Html:
    """Return what can be chosen: models in use with their limit now, then the published ones."""
    used = {
        lane["model"]: lane["token_limit"]
        for lane in lane_limits(look.reader, terms=look.site.terms)
    }
    table = look.site.terms.token_limits
    listed = dict(table.tokens) if table else {}
    return join(
        html(
            '<option value="{}" label="{}"></option>', model,
            f"now {number(tokens)} ({compact(tokens)})" if tokens else "no limit known",
        )
        for model, tokens in (dict(sorted(listed.items())) | used).items()
    )  # fmt: skip


def question(model: str, tokens: int, forecast: Mapping[str, Any]) -> Question:
    """Return the question before a cap is set, with what it would change."""
    lanes = forecast["lanes"]
    told = (
        html("<ul>{}</ul>", join(_change(lane, tokens) for lane in lanes))
        if lanes
        else Html("<p>No request has named such a model yet; it counts from the first one on.</p>")
    )
    above = forecast["requests_above"]
    fatal = EMPTY
    if above:
        fatal = html(
            "<p><b>{} alone {} more than that and will fail.</b></p>",
            count_of(above, "pending request"), "needs" if above == 1 else "need",
        )  # fmt: skip
    return Question(
        title=f"Cap {model} at {number(tokens)} tokens ({compact(tokens)})?",
        text=html(
            "{}{}<p>Batches that are at the provider go on. The next ones keep to it, without a "
            "restart.</p>",
            told, fatal,
        ),
        verb="Set cap", keep="Leave it", danger=bool(above),
    )  # fmt: skip


def _change(lane: Mapping[str, Any], tokens: int) -> Html:
    now = lane["token_limit"]
    return html(
        '<li><span class="mono">{}</span> <span class="muted">{}</span>: {} now, {} then, {} in '
        "use</li>",
        lane["model"], lane["endpoint"], "no limit known" if now is None else number(now),
        number(tokens), compact(lane["enqueued_tokens"]),
    )  # fmt: skip


def _cap(row: Mapping[str, Any]) -> Html:
    told = html('{} <span class="muted">({})</span>', number(row["tokens"]), compact(row["tokens"]))
    if row["lowered_to"] is None:
        return told
    return html(
        '{}<span class="sub">lowered to {} by the provider</span>', told, number(row["lowered_to"])
    )


def _use(row: Mapping[str, Any]) -> Html:
    if not row["lanes"]:
        return Html('<span class="muted">not used yet</span>')
    text = f"{compact(row['enqueued_tokens'])} enqueued"
    is_full = row["used_share"] >= _NEARLY_FULL
    used = bar(
        row["enqueued_tokens"], row["lowered_to"] or row["tokens"],
        label=f"{row['model']}: {text}", tone="warning" if is_full else "primary",
    )  # fmt: skip
    return html('<span class="sub nowrap">{}</span>{}', text, used)


def _who(row: Mapping[str, Any]) -> Html:
    return html('{}<span class="sub">{}</span>', row["set_by"], age(row["set_at"]))


def _reset(row: Mapping[str, Any]) -> Sequence[Action]:
    del row  # every cap can be taken away
    return [Action(act="reset-cap", words="Reset")]


CAPS: Final = Table(
    label="Token caps",
    row_id=lambda row: row["model"],
    row_actions=_reset,
    columns=(
        Column(title="Models that begin with", kind="mono", cell=lambda row: row["model"]),
        Column(title="Cap", kind="number", cell=_cap),
        Column(title="In use now", cell=_use),
        Column(title="Set by", cell=_who),
    ),
)
