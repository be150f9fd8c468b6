"""What the doctor says: findings, each with its ids, why it matters and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

MOST_IDS: Final = 20
"""Ids that a finding names; its count says how many there are."""


class Check(StrEnum):
    """The invariants, in the order in which they are proven."""

    ACCEPTED_LINES = "accepted_lines"
    """Each accepted line has exactly one request, and the other way round."""
    REQUEST_STATES = "request_states"
    """Each request is in exactly one state that its columns allow."""
    BATCH_COUNTS = "batch_counts"
    """What was sent with a batch is what became of it, request by request."""
    RESULT_LINES = "result_lines"
    """Each final request has its line in `results/`, or waits for one with an `obm_` code."""
    DELIVERIES = "deliveries"
    """Each result has the duty to bring it where it belongs, once."""
    OUTBOX = "outbox"
    """The outbox holds each delivered line exactly once."""
    BATCHES = "batches"
    """Nothing is created twice, and what is reserved is what live batches hold."""
    ORPHANS = "orphans"
    """No file lies there that nobody owns."""
    CUSTOM_IDS = "custom_ids"
    """A custom_id is accepted once in its job."""
    REFERENCES = "references"
    """What the ledger refers to is there, and every number is given once."""


class Severity(StrEnum):
    """How bad it is."""

    FAULT = "fault"
    """A promise is broken, or would be."""
    WARNING = "warning"
    """Nothing is lost, but something is not as it should be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, with everything that it is wrong for."""

    check: Check
    code: str
    """Which kind of wrong it is, for scripts."""
    severity: Severity
    ids: tuple[str, ...]
    """The first of them."""
    count: int
    explanation: str
    remedy: str
    repairable: bool = False
    """Whether `obm doctor --repair` mends it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one examination has shown."""

    at: datetime
    """The moment of the view of the ledger on which it rests."""
    seconds: float
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What is unusual and all right."""
    counted: dict[str, int] = field(default_factory=dict)
    """How much was looked at: requests, batches, results, ...."""

    @property
    def faults(self) -> int:
        """How many findings are faults."""
        return sum(finding.severity is Severity.FAULT for finding in self.findings)

    @property
    def is_healthy(self) -> bool:
        """Whether every invariant holds; warnings do not break one."""
        return not self.faults


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One way in which an invariant can be broken, and what to tell a person about it."""

    check: Check
    code: str
    explanation: str
    remedy: str
    severity: Severity = Severity.FAULT
    repairable: bool = False

    def found(self, ids: Sequence[str], *, count: int | None = None) -> Finding:
        """Return the finding for these ids (all of them, or the first of `count`)."""
        return Finding(
            check=self.check,
            code=self.code,
            severity=self.severity,
            ids=tuple(ids[:MOST_IDS]),
            count=len(ids) if count is None else count,
            explanation=self.explanation,
            remedy=self.remedy,
            repairable=self.repairable,
        )
