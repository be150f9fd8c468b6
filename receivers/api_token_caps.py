"""Token caps over REST: how many tokens may be enqueued for a model, as operators set it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from batching.token_limits import LONGEST_MODEL, MOST_TOKENS
from receivers.context import WebContext, actor, web_context
from receivers.paging import Name, Text, not_found, reading
from receivers.views import ERRORS
from storage.ledger import Ledger
from storage.reports.switches import token_caps_report
from storage.reports.terms import Terms
from storage.token_caps import reset_token_cap, set_token_cap

router = APIRouter(tags=["token caps"], responses=ERRORS)
Context = Annotated[WebContext, Depends(web_context)]
Actor = Annotated[str, Depends(actor)]


class NewCap(BaseModel):
    """A cap for all models whose names begin so."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[Text, Field(min_length=1, max_length=LONGEST_MODEL)]
    tokens: Annotated[int, Field(strict=True, ge=1, le=MOST_TOKENS)]


class CapView(BaseModel):
    """What setting a cap has changed."""

    model: str
    tokens: int
    before: int | None
    """The cap that was set there before."""
    forgotten: int
    """How many lanes have forgotten a learned limit that was below it."""


class CapList(BaseModel):
    """All caps that operators have set."""

    items: list[dict[str, Any]]


@router.get("/api/token-caps")
def list_caps(context: Context) -> CapList:
    """Return the caps that operators have set, with their use now."""
    with reading(context) as reader:
        terms = Terms.of(context.settings)
        return CapList(items=token_caps_report(reader, terms=terms) if reader else [])


@router.post("/api/token-caps")
def set_cap(context: Context, who: Actor, new: NewCap) -> CapView:
    """Let at most so many tokens be enqueued for models whose names begin so, from now on."""
    done = set_token_cap(_ledger(context), new.model, new.tokens, actor=who)
    return CapView(
        model=done.model, tokens=done.tokens, before=done.before, forgotten=done.forgotten
    )


@router.delete("/api/token-caps/{model:path}", status_code=204)
def reset_cap(context: Context, who: Actor, model: Name) -> Response:
    """Take a cap away; the environment's limit counts again, or the published one."""
    if reset_token_cap(_ledger(context), model, actor=who) is None:
        raise not_found(f"no cap is set for {model!r}")
    return Response(status_code=204)


def _ledger(context: WebContext) -> Ledger:
    """Return the ledger, made if need be: a cap may be set before the first request comes."""
    memory_bytes = context.settings.ledger_memory_bytes
    return Ledger.open(context.directory, memory_bytes=memory_bytes)
