"""What a page may do in its session: go somewhere, ask, act, say how it went."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from batching.access import Scope
from dashboards.components.confirm import Question
from dashboards.components.overlay import Overlay
from dashboards.performing import Deed, Outcome, may_still, perform, refusal
from dashboards.places import Place
from dashboards.site import Site
from dashboards.theme import Tone
from dashboards.visitor import Visitor


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """The session of one visitor, as its page sees it."""

    site: Site
    visitor: Visitor
    overlay: Overlay
    where: Callable[[], Place]
    """Where the visitor is now."""
    go: Callable[[str], Awaitable[None]]
    """Goes to an address under `/ui`."""
    refresh: Callable[[], Awaitable[None]]
    """Reads the page anew."""

    @property
    def place(self) -> Place:
        """Where the visitor is now."""
        return self.where()

    def toast(self, text: str, tone: Tone = "success") -> None:
        """Say something in the corner for a few seconds."""
        number = self.overlay.toast.get("number", 0) + 1
        self.overlay.toast = {"text": text, "tone": tone, "number": number}

    async def may(self, scope: Scope) -> bool:
        """Return whether this visitor has the scope now; if not, he is told."""
        if await asyncio.to_thread(may_still, self.site.directory, self.visitor, scope):
            return True
        outcome = refusal(scope)
        self.toast(outcome.text, outcome.tone)
        return False

    async def ask(self, question: Question) -> Mapping[str, str] | None:
        """Ask in a dialog; return its fields (maybe none), or None if the answer is no."""
        answered: asyncio.Future[Mapping[str, str] | None] = (
            asyncio.get_running_loop().create_future()
        )
        number = self.overlay.dialog.get("number", 0) + 1

        def on_answer(change: object) -> None:
            del change
            answer = self.overlay.answer
            if answer.get("number") == number and not answered.done():
                answered.set_result(answer["values"] if answer["given"] else None)

        watcher = self.overlay.param.watch(on_answer, "answer")
        self.overlay.dialog = {"html": str(question.as_html()), "number": number}
        try:
            return await answered
        finally:
            self.overlay.param.unwatch(watcher)

    async def perform(self, deed: Deed) -> Outcome:
        """Carry out a deed as this visitor, show its effect, and say how it went."""
        outcome = await perform(deed, site=self.site, visitor=self.visitor)
        await self.site.live.follow(at_once=True)
        await self.refresh()
        self.toast(outcome.text, outcome.tone)
        return outcome

    async def confirm_and_perform(self, question: Question, deed: Deed) -> Outcome | None:
        """Ask first; return None if the answer is no."""
        if await self.ask(question) is None:
            return None
        return await self.perform(deed)
