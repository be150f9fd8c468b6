"""Settings: what runs and what is paused, limits and prices, tokens, the configuration."""

from collections.abc import Callable
from functools import partial
from typing import Final

from batching.access import Scope
from batching.token_limits import read_model_prefix, read_tokens
from dashboards.actions import deliveries, intake
from dashboards.actions import settings as actions
from dashboards.components.board import Event
from dashboards.components.confirm import Question
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, attributes, html, join
from dashboards.page import Look, Page
from dashboards.pages import settings_access as access
from dashboards.pages import settings_caps
from dashboards.pages.delivery_words import name_of
from dashboards.pages.settings_configuration import configuration, rules
from dashboards.pages.settings_limits import limits, prices
from dashboards.pages.settings_running import installation, roles, switches
from dashboards.places import Place, link
from storage import access_tokens
from storage.reports.switches import cap_forecast

_TABS: Final = {
    "running": "Running", "limits": "Token limits", "prices": "Prices", "access": "API tokens",
    "configuration": "Configuration",
}  # fmt: skip


def _tab_of(place: Place) -> str:
    tab = place.get("tab")
    return tab if tab in _TABS else "running"


def nav(look: Look) -> Html:
    """Return the links to the parts of the page."""
    links = join(
        html(
            '<a href="{}"{}>{}</a>',
            link("settings", tab=None if name == "running" else name),
            attributes(aria_current="page" if name == _tab_of(look.place) else None), words,
        )
        for name, words in _TABS.items()
    )  # fmt: skip
    return html('<nav class="tabs" aria-label="Parts of the settings">{}</nav>', links)


def _in_tab(tab: str, tile: Callable[[Look], Html]) -> Callable[[Look], Html]:
    def shown(look: Look) -> Html:
        return tile(look) if _tab_of(look.place) == tab else EMPTY

    return shown


async def _hold_intake(desk: Desk, event: Event, *, paused: bool) -> None:
    del event
    if not paused:
        await desk.perform(intake.resume())
        return
    answer = await desk.ask(
        Question(
            title="Pause intake?",
            text="New requests over REST are refused, those in a RabbitMQ queue stay there, until "
            "intake is resumed. Files in the inbox and what is here already go on.",
            fields=Html(
                '<label class="field">Why (shown to everybody)<input type="text" name="reason" '
                'maxlength="200" autocomplete="off"></label>'
            ),
            verb="Pause intake",
            keep="Go on",
        )
    )
    if answer is not None:
        await desk.perform(intake.pause(answer.get("reason")))


async def _hold_lanes(desk: Desk, event: Event, *, paused: bool) -> None:
    """Pause or resume one lane, or all of them where the button stands in no row."""
    lane_ids = [int(event.id.removeprefix("lane-"))] if event.id else None
    deed = actions.hold_submission(lane_ids, paused=paused)
    if not paused:
        await desk.perform(deed)
        return
    whose = "this model" if event.id else "all models"
    question = Question(
        title=f"Pause submission of {whose}?",
        text="No new batches are made or sent. Batches at the provider go on, and their results "
        "are delivered.",
        verb="Pause submission", keep="Go on",
    )  # fmt: skip
    await desk.confirm_and_perform(question, deed)


async def _hold_targets(desk: Desk, event: Event, *, paused: bool) -> None:
    """Stop or resume delivery to one destination, or to all of them."""
    deed = deliveries.hold([event.id] if event.id else None, paused=paused)
    if not paused:
        await desk.perform(deed)
        return
    whose = name_of(event.id) if event.id else "all destinations"
    question = Question(
        title=f"Pause delivery to {whose}?",
        text="Results that come keep waiting until delivery is resumed; nothing is lost.",
        verb="Pause delivery", keep="Go on",
    )  # fmt: skip
    await desk.confirm_and_perform(question, deed)


async def _forget_limit(desk: Desk, event: Event) -> None:
    question = Question(
        title="Forget the learned limit?",
        text="The published limit counts again, or none, until the provider refuses a batch. A "
        "refused batch costs nothing, but it takes time.",
        verb="Forget it",
    )
    await desk.confirm_and_perform(question, actions.forget_limit(int(event.id)))


async def _set_cap(desk: Desk, event: Event) -> None:
    """Set a token cap, after saying what it changes."""
    model = read_model_prefix(event.values.get("model", ""))
    tokens = read_tokens(event.values.get("tokens", ""))
    forecast = partial(cap_forecast, prefix=model, tokens=tokens, terms=desk.site.terms)
    found = await desk.site.live.in_thread(partial(desk.site.live.reading, forecast))
    question = settings_caps.question(model, tokens, found)
    await desk.confirm_and_perform(question, actions.set_cap(model, tokens))


async def _reset_cap(desk: Desk, event: Event) -> None:
    question = Question(
        title=f"Reset the cap of {event.id}?",
        text="What the environment sets counts again, else what the provider has named or "
        "published, from the next batch on.",
        verb="Reset cap",
    )
    await desk.confirm_and_perform(question, actions.reset_cap(event.id))


async def _create_token(desk: Desk, event: Event) -> None:
    """Make a token and show its text once, to this visitor only."""
    name = event.values.get("name", "").strip()
    scopes = [scope for scope in Scope if event.values.get(scope.value) == "on"]
    if not name or not scopes:
        desk.toast("A token needs a name and at least one scope.", "error")
        return
    beyond = [scope.value for scope in scopes if scope not in desk.visitor.scopes]
    if beyond:
        desk.toast(f"Nobody can give what he does not have himself: {', '.join(beyond)}.", "error")
        return
    keep: list[str] = []
    await desk.perform(actions.create_token(name, scopes, keep))
    if keep:
        await desk.ask(access.shown_once(name, keep[0]))


async def _revoke_token(desk: Desk, event: Event) -> None:
    tokens = [
        token
        for token in access_tokens.read_tokens(desk.site.directory)
        if token.revoked_at is None
    ]
    meant = [token for token in tokens if token.id == event.id]
    if not meant:
        desk.toast("This token is not valid any more.", "info")
        return
    question = access.revoke_question(
        meant[0].name, is_own=meant[0].name == desk.visitor.name, is_last=len(tokens) == 1
    )
    await desk.confirm_and_perform(question, actions.revoke_token(event.id))


async def _look_again(desk: Desk, event: Event) -> None:
    """Read what is no part of the ledger anew: health, disk, tokens."""
    del event
    desk.site.live.forget()
    await desk.refresh()


PAGE: Final = Page(
    menu="settings",
    title="Settings",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Settings</h1></div>'
        '<div data-tile="nav"></div>'
        '<div class="settings-running"><div data-tile="switches"></div>'
        '<div class="grid"><div data-tile="roles"></div><div data-tile="installation"></div></div>'
        '</div><div data-tile="caps"></div><div data-tile="cap-form"></div>'
        '<div data-tile="limits"></div><div data-tile="prices"></div>'
        '<div data-tile="tokens"></div><div data-tile="rules"></div>'
        '<div data-tile="configuration"></div></div>'
    ),
    tiles={
        "nav": nav,
        "switches": _in_tab("running", switches),
        "roles": _in_tab("running", roles),
        "installation": _in_tab("running", installation),
        "caps": _in_tab("limits", settings_caps.caps),
        "cap-form": _in_tab("limits", settings_caps.form),
        "limits": _in_tab("limits", limits),
        "prices": _in_tab("prices", prices),
        "tokens": _in_tab("access", access.tokens),
        "rules": _in_tab("configuration", rules),
        "configuration": _in_tab("configuration", configuration),
    },
    deeds={
        "pause-intake": partial(_hold_intake, paused=True),
        "resume-intake": partial(_hold_intake, paused=False),
        "pause-lane": partial(_hold_lanes, paused=True),
        "resume-lane": partial(_hold_lanes, paused=False),
        "pause-submission": partial(_hold_lanes, paused=True),
        "resume-submission": partial(_hold_lanes, paused=False),
        "pause-target": partial(_hold_targets, paused=True),
        "resume-target": partial(_hold_targets, paused=False),
        "pause-delivery": partial(_hold_targets, paused=True),
        "resume-delivery": partial(_hold_targets, paused=False),
        "forget-limit": _forget_limit,
        "set-cap": _set_cap,
        "reset-cap": _reset_cap,
        "create-token": _create_token,
        "revoke-token": _revoke_token,
        "look-again": _look_again,
    },
    harmless={"look-again"},
)
