"""Reconciling a batch: every request that was sent gets exactly one verdict.

Requests are matched by id alone; the batch's status and counts are never trusted for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from batching.failure_policy import RetryLimits, Verdict, settle
from batching.lifecycle import RequestState
from batching.outcomes import Answer
from storage.answer_files import AnswerIndex, OddRecord

_DECIDING = ("answer", "attempts", "returns", "cancel_requested")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """The verdicts on a batch's requests, and the lines that belong to none of them."""

    requests: pl.DataFrame
    """One row a request, in the order of requests, with its verdict and its line's place."""
    odd: Sequence[OddRecord]

    def count(self, state: RequestState) -> int:
        """Return how many requests got this state."""
        return int((self.requests["state"] == state.value).sum())


def reconcile(
    members: pl.DataFrame,
    index: AnswerIndex,
    *,
    complete: bool,
    cancelled_outside: bool,
    limits: RetryLimits,
) -> Reconciled:
    """Match what was sent with what came back.

    `complete` says that both files were read to their end: only then is a request without a
    line missing; otherwise its answer could not be read.
    """
    lines = index.frame().with_row_index("line_number")
    ours = lines.join(members.select("segment", "row_index"), on=["segment", "row_index"])
    chosen = ours.sort(pl.col("outcome") != "succeeded", "line_number", maintain_order=True).unique(
        ["segment", "row_index"], keep="first", maintain_order=True
    )
    absent = Answer.MISSING if complete else Answer.UNREADABLE
    answered = members.join(
        chosen.drop("line_number"), on=["segment", "row_index"], how="left", maintain_order="left"
    ).with_columns(pl.col("outcome").fill_null(absent.value).alias("answer"))
    requests = answered.join(
        _verdicts(answered, cancelled_outside=cancelled_outside, limits=limits),
        on=list(_DECIDING),
        how="left",
        maintain_order="left",
    ).sort("segment", "row_index")
    return Reconciled(requests=requests, odd=[*index.odd, *_odd(lines, ours, chosen)])


def _verdicts(
    answered: pl.DataFrame, *, cancelled_outside: bool, limits: RetryLimits
) -> pl.DataFrame:
    """Decide once for every distinct case; there are a few dozen at most."""
    cases = answered.select(_DECIDING).unique()
    verdicts = [
        settle(
            Answer(case["answer"]),
            attempts=case["attempts"],
            returns=case["returns"],
            cancel_requested=case["cancel_requested"],
            cancelled_outside=cancelled_outside,
            limits=limits,
        )
        for case in cases.to_dicts()
    ]
    return cases.with_columns(
        pl.Series("state", [verdict.state.value for verdict in verdicts], dtype=pl.String),
        pl.Series("attempts_now", [verdict.attempts for verdict in verdicts], dtype=pl.UInt8),
        pl.Series("returns_now", [verdict.returns for verdict in verdicts], dtype=pl.UInt8),
        pl.Series("own_code", [_code(verdict) for verdict in verdicts], dtype=pl.String),
    )


def _code(verdict: Verdict) -> str | None:
    return verdict.error_code


def _odd(lines: pl.DataFrame, ours: pl.DataFrame, chosen: pl.DataFrame) -> list[OddRecord]:
    foreign = lines.join(ours, on="line_number", how="anti")
    repeated = ours.join(chosen, on="line_number", how="anti")
    return [
        OddRecord(file=row["file"], offset=row["offset"], length=row["length"], reason=reason)
        for frame, reason in (
            (foreign, "its custom_id is none of this batch"),
            (repeated, "the request has another line already"),
        )
        for row in frame.iter_rows(named=True)
    ]
