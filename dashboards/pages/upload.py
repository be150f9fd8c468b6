"""Sending requests: a file from this computer, one request, or a few made-up ones."""

from typing import Any, Final

from panel.viewable import Viewable

from batching.access import Scope
from dashboards.actions import sending
from dashboards.components.board import Event
from dashboards.components.code import code, curl
from dashboards.components.notices import card, notice
from dashboards.components.uploader import Uploader
from dashboards.desk import Desk
from dashboards.markup import EMPTY, Html, html, join
from dashboards.page import Look, Page
from dashboards.performing import Deed, Outcome, perform
from dashboards.places import link
from dashboards.theme import icon
from dashboards.wording import age, size
from storage.held_files import held_files
from storage.reports.batches import models_of_batches

SAMPLES: Final = 10
_NO_RIGHT: Final = "Your token may look, but not send: that needs one with the scope submit."


def drop(look: Look) -> Html:
    """Return the place to drop files."""
    if not look.visitor.may_submit:
        return notice(_NO_RIGHT, tone="warning")
    return html(
        '<label class="drop large" data-drop="/ui/upload">{}<b>Drop request files here</b>'
        '<span class="muted">.jsonl, .jsonl.gz, .jsonl.zst, .csv or .parquet. You see what they '
        'would send and cost before anything is sent.</span><span class="button primary">Choose '
        'files</span><input class="unseen" type="file" multiple '
        'accept=".jsonl,.ndjson,.gz,.zst,.csv,.parquet"></label>',
        icon("upload"),
    )


def waiting(look: Look) -> Html:
    """Return the files that wait for a word."""
    held = held_files(look.site.directory)
    if not held:
        return EMPTY
    discard = Html('<button type="button" class="button small" data-act="discard">Discard</button>')
    lines = join(
        html(
            '<li data-id="{}"><i class="dot is-info"></i><div class="what"><a href="{}">{}</a>'
            '<span class="muted">{} · sent {}</span></div>{}</li>',
            one.held, link("upload", one.held), one.file, size(one.bytes), age(one.held_at),
            html('<a class="button small primary" href="{}">Review and start</a> {}',
                 link("upload", one.held), discard)
            if look.visitor.may_submit else EMPTY,
        )
        for one in held
    )  # fmt: skip
    note = "nothing of them is sent; after a day they are deleted"
    return card("Waiting for your word", html('<ul class="todo held">{}</ul>', lines), note=note)


def one(look: Look) -> Html:
    """Return the form that sends one request."""
    if not look.visitor.may_submit:
        return EMPTY
    known = sorted({*models_of_batches(look.reader), sending.FIRST_MODEL})
    options = join(html('<option value="{}"></option>', model) for model in known)
    body = html(
        '<form class="send-one" data-act="send-one"><label class="field">Model'
        '<input type="text" name="model" value="{model}" list="models" required maxlength="200" '
        'autocomplete="off" spellcheck="false"></label>'
        '<datalist id="models">{options}</datalist>'
        '<label class="field">Job<input type="text" name="job" value="dashboard" required '
        'maxlength="100" autocomplete="off"></label>'
        '<label class="field whole">Prompt<textarea name="prompt" rows="4" required '
        'maxlength="100000" placeholder="What shall the model answer to?"></textarea></label>'
        '<div class="row"><button class="button primary" type="submit">Send request</button>'
        '<span class="muted small">It is stored at once and goes with the next batch.</span>'
        "</div></form>",
        model=sending.FIRST_MODEL, options=options,
    )  # fmt: skip
    return card("One request", body, note="to a chat model")


def samples(look: Look) -> Html:
    """Return the form that writes made-up requests."""
    if not look.visitor.may_submit:
        return EMPTY
    body = html(
        '<form class="send-samples" data-act="samples"><p class="muted">{count} short questions '
        "as a file, to see the whole way of a job. You see what they cost and start them "
        'yourself.</p><label class="field">Model<input type="text" name="model" value="{model}" '
        'list="models" required maxlength="200" autocomplete="off" spellcheck="false"></label>'
        '<div class="row"><button class="button" type="submit">Create sample requests</button>'
        "</div></form>",
        count=SAMPLES, model=sending.FIRST_MODEL,
    )  # fmt: skip
    return card("Nothing at hand?", body)


def by_program(look: Look) -> Html:
    """Return how programs send."""
    settings = look.site.settings
    address = f"http://{settings.host}:{settings.port}/api"
    with_token = look.visitor.name != "local"
    line = (
        '{"custom_id": "first-1", "method": "POST", "url": "/v1/chat/completions", "body": '
        '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}}'
    )
    single = curl("POST", f"{address}/requests", line, with_token=with_token)
    token = ' -H "Authorization: Bearer $OBM_TOKEN"' if with_token else ""
    file = f"curl -T requests.jsonl -X POST{token} '{address}/files?name=requests.jsonl'"
    body = html(
        '<div class="grid two"><div><h3>One request</h3>{}</div><div><h3>A file</h3>{}'
        '<p class="muted small">Or put it into <code>{}</code>. All of it is described in the '
        '<a href="/api/swaggerui" target="_blank" rel="noopener">pages of the API</a>.</p></div>'
        "</div>",
        code(single, label="the command for one request"),
        code(file, label="the command for a file"), look.site.directory.inbox,
    )  # fmt: skip
    return card("From a program", body)


async def carry_out(desk: Desk, deed: Deed) -> Outcome:
    """Carry out a deed that needs the scope submit, and say how it went."""
    outcome = await perform(deed, site=desk.site, visitor=desk.visitor, scope=Scope.SUBMIT)
    desk.site.live.forget()  # files that wait are not in the ledger
    desk.toast(outcome.text, outcome.tone)
    return outcome


async def _send_one(desk: Desk, event: Event) -> None:
    made: list[str] = []
    values = event.values
    deed = sending.send_one(
        desk.site.directory, model=values.get("model", ""), prompt=values.get("prompt", ""),
        job=values.get("job", ""), made=made.append,
    )  # fmt: skip
    await carry_out(desk, deed)
    if made:
        await desk.go(link("jobs", made[0]))


async def _samples(desk: Desk, event: Event) -> None:
    made: list[str] = []
    model = event.values.get("model", "")
    deed = sending.write_samples(desk.site.directory, model=model, count=SAMPLES, made=made.append)
    await carry_out(desk, deed)
    if made:
        await desk.go(link("upload", made[0]))


async def _discard(desk: Desk, event: Event) -> None:
    await carry_out(desk, sending.discard(desk.site.directory, event.id))
    await desk.refresh()


def _uploader(desk: Desk) -> list[Viewable]:
    uploader = Uploader()

    async def arrived(_change: Any) -> None:
        desk.site.live.forget()
        await desk.refresh()

    uploader.param.watch(arrived, "sent")
    return [uploader]


PAGE: Final = Page(
    menu="upload",
    title="Send requests",
    layout=Html(
        '<div class="page"><div class="page-head"><h1>Send requests</h1></div>'
        '<div data-upload></div><div data-tile="drop"></div><div data-tile="waiting"></div>'
        '<div class="grid wide"><div data-tile="one"></div><div data-tile="samples"></div></div>'
        '<div data-tile="by_program"></div></div>'
    ),
    tiles={
        "drop": drop, "waiting": waiting, "one": one, "samples": samples, "by_program": by_program,
    },
    deeds={"send-one": _send_one, "samples": _samples, "discard": _discard},
    scope=Scope.SUBMIT,
    extras=_uploader,
    refreshes=False,
)  # fmt: skip
