"""How a deed on many objects went, in words."""

from collections.abc import Sequence

from dashboards.performing import Outcome
from storage.action_outcomes import ActionOutcome


def told(found: ActionOutcome, done: Sequence[str]) -> Outcome:
    """Return what was done and what was left alone, each with its real count."""
    sentences = list(done) if found.changed else ["Nothing changed."]
    left = ", ".join(f"{count:,} {why}" for why, count in found.skipped.items())
    if found.skipped_total == 1 and not found.changed:
        left = next(iter(found.skipped))
    if left:
        sentences.append(f"Left alone: {left}.")
    text = " ".join(sentences)
    if not found.changed:
        return Outcome(text=text, tone="info")
    return Outcome(text=text, tone="warning" if left else "success")
