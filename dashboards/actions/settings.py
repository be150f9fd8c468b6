"""What operators do on the settings page: submission, token limits, API tokens."""

from collections.abc import Collection, Sequence

from batching.access import Scope
from dashboards.performing import Deed, Outcome
from dashboards.wording import compact, count_of, number
from storage.holding import hold_lanes
from storage.lane_limits import forget_learned_limit
from storage.ledger import Ledger
from storage.switches import end_token, issue_token
from storage.token_caps import reset_token_cap, set_token_cap


def hold_submission(lane_ids: Sequence[int] | None, *, paused: bool) -> Deed:
    """Return the deed of pausing or resuming lanes; None means all of them."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        done = hold_lanes(ledger, lane_ids, paused=paused, actor=actor)
        if not done.changed:
            reasons = ", ".join(f"{count:,} {why}" for why, count in done.skipped.items())
            return Outcome(text=f"Nothing changed: {reasons or 'there is no lane'}.", tone="info")
        state = "paused: no new batches" if paused else "resumed"
        return Outcome(text=f"{count_of(done.changed, 'lane')} {state}.")

    return deed


def forget_limit(lane_id: int) -> Deed:
    """Return the deed of forgetting the token limit that a lane has learned."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        learned = forget_learned_limit(ledger, lane_id, actor=actor)
        if learned is None:
            return Outcome(text="The lane has no learned limit any more.", tone="info")
        return Outcome(text=f"The learned limit of {number(learned)} tokens is forgotten.")

    return deed


def set_cap(model: str, tokens: int) -> Deed:
    """Return the deed of letting at most so many tokens be enqueued for a model."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        done = set_token_cap(ledger, model, tokens, actor=actor)
        told = f"{done.model}: at most {number(done.tokens)} tokens ({compact(done.tokens)})."
        more = " What was learned below that is forgotten." if done.forgotten else ""
        return Outcome(text=told + more)

    return deed


def reset_cap(model: str) -> Deed:
    """Return the deed of taking a token cap away."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        tokens = reset_token_cap(ledger, model, actor=actor)
        if tokens is None:
            return Outcome(text=f"No cap is set for {model} any more.", tone="info")
        return Outcome(text=f"The cap of {number(tokens)} tokens for {model} is gone.")

    return deed


def create_token(name: str, scopes: Collection[Scope], keep: list[str]) -> Deed:
    """Return the deed of making an API token; its text is put into `keep`, and nowhere else."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        keep.append(issue_token(ledger, name=name.strip(), scopes=scopes, actor=actor))
        return Outcome(text=f"The token {name.strip()} is made.")

    return deed


def revoke_token(token_id: str) -> Deed:
    """Return the deed of ending an API token for ever."""

    def deed(ledger: Ledger, actor: str) -> Outcome:
        token = end_token(ledger, token_id, actor=actor)
        return Outcome(text=f"The token {token.name} is not valid any more.")

    return deed
