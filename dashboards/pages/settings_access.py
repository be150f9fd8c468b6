"""Who may use this installation: its API tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from batching.access import LONGEST_TOKEN_NAME, Scope
from dashboards.components.code import code
from dashboards.components.confirm import Question
from dashboards.components.notices import card, notice
from dashboards.components.table import Action, Column, Table, table_html
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look
from dashboards.places import link
from dashboards.theme import badge
from dashboards.wording import age
from storage.access_tokens import read_tokens
from storage.reports.audit import AuditFilter, audit_view
from storage.reports.paging import PageChoice

_MEANINGS: Final[Mapping[Scope, str]] = {
    Scope.READ: "see everything here and over REST",
    Scope.SUBMIT: "bring requests in, over REST or as files",
    Scope.OPERATE: "cancel, redeliver, pause, change settings",
}


def tokens(look: Look) -> Html:
    """Return the tokens without their secrets, and how to make one."""
    known = read_tokens(look.site.directory)
    rows: list[dict[str, Any]] = [
        {"token": token, "last": _last_deed(look, token.name), "is_own": False} for token in known
    ]
    rows.sort(key=lambda row: (row["token"].revoked_at is not None, row["token"].name))
    valid = [row for row in rows if row["token"].revoked_at is None]
    if not rows:
        return _how_to_begin()
    head = EMPTY if valid else _none_valid()
    table = table_html(TABLE, rows, may_operate=look.visitor.may_operate)
    form = _form() if look.visitor.may_operate and valid else EMPTY
    return html('<div class="grid">{}{}{}</div>', head, table, form)


def _last_deed(look: Look, name: str) -> Any:
    """Return when somebody with this token last did something; looking is not written down."""
    for way in ("api", "dashboard"):
        found = audit_view(look.reader, AuditFilter(actor=f"{way}:{name}"), PageChoice(limit=1))
        if found["rows"]:
            return found["rows"][0]["happened_at"]
    return None


def _how_to_begin() -> Html:
    body = html(
        "<p>There is no token, so everybody on this machine may do everything, and nobody else "
        "gets in. The first token ends that: from then on every visitor and every call of the API "
        "needs one. Make it in a shell, where its text is not lost when this page closes:</p>{}",
        code("obm token create me --scope read --scope submit --scope operate",
             label="the command"),
    )  # fmt: skip
    return card("API tokens", html('<div class="grid">{}</div>', body), note="none yet")


def _none_valid() -> Html:
    return notice(
        "No token is valid any more, so everybody on this machine may do everything. "
        "`obm token create` makes a new one.",
        tone="warning",
    )


def _form() -> Html:
    scopes = join(
        html(
            '<label class="scope"><input type="checkbox" name="{0}" value="on"> <b>{0}</b> '
            '<span class="muted">{1}</span></label>',
            scope.value, meaning,
        )
        for scope, meaning in _MEANINGS.items()
    )  # fmt: skip
    return card(
        "Create a token",
        html(
            '<form class="new-token" data-act="create-token"><label class="field">Name'
            '<input type="text" name="name" required maxlength="{}" autocomplete="off" '
            'placeholder="who or what will use it"></label><fieldset><legend class="field">It may'
            '</legend>{}</fieldset><button type="submit" class="button primary">Create token'
            "</button></form>",
            LONGEST_TOKEN_NAME, scopes,
        ),
        note="its text is shown once",
    )  # fmt: skip


def revoke_question(name: str, *, is_own: bool, is_last: bool) -> Question:
    """Return the question before a token is ended."""
    more = Html("")
    if is_own:
        more = Html(
            "<p><b>It is the one that you are logged in with: this page will close.</b></p>"
        )
    if is_last:
        more = html(
            "{}<p><b>It is the last valid one: after that everybody on this machine may do "
            "everything without a token.</b></p>", more,
        )  # fmt: skip
    return Question(
        title=f"Revoke the token {name}?",
        text=html(
            "<p>Whoever uses it is refused at once, and for ever. What was done with it stays in "
            "the audit trail.</p>{}",
            more,
        ),
        verb="Revoke token", danger=True,
    )  # fmt: skip


def shown_once(name: str, text: str) -> Question:
    """Return the dialog that shows the text of a new token, the only time."""
    return Question(
        title=f"The token {name}",
        text=html(
            "<p>This is the only time that it is shown: keep it where your programs find secrets, "
            "and send it as <code>Authorization: Bearer …</code>.</p>"
            '<pre class="secret" tabindex="0" aria-label="The token">{}</pre>',
            text,
        ),
        verb="I have kept it", keep="Close",
    )  # fmt: skip


def _name(row: Mapping[str, Any]) -> Html:
    return html('<b>{}</b><span class="sub mono">{}</span>', row["token"].name, row["token"].id)


def _scopes(row: Mapping[str, Any]) -> Html:
    return join((badge(scope.value) for scope in row["token"].scopes), " ")


def _state(row: Mapping[str, Any]) -> Html:
    revoked = row["token"].revoked_at
    if revoked is None:
        return badge("Valid", "success")
    return html('{}<span class="sub">{}</span>', badge("Revoked", "neutral"), age(revoked))


def _last(row: Mapping[str, Any]) -> Html:
    if row["last"] is None:
        return Html('<span class="muted">nothing yet</span>')
    return html('<a href="{}">{}</a>', link("audit", q=row["token"].name), age(row["last"]))


def _actions(row: Mapping[str, Any]) -> Sequence[Action]:
    if row["token"].revoked_at is not None:
        return []
    return [Action(act="revoke-token", words="Revoke", kind="risky")]


TABLE: Final = Table(
    label="API tokens",
    row_id=lambda row: row["token"].id,
    row_actions=_actions,
    columns=(
        Column(title="Name", cell=_name),
        Column(title="May", cell=_scopes),
        Column(title="Created", cell=lambda row: age(row["token"].created_at)),
        Column(title="Last deed", cell=_last),
        Column(title="State", cell=_state),
    ),
)
