"""What the ledger refers to is there, and every number is given once."""

from collections.abc import Iterator
from typing import Final

from storage.doctor.examination import Examination, Rule, apply
from storage.doctor.findings import Check, Finding, Kind, Severity

_REMEDY: Final = (
    "Restore the newest copy of the ledger that is right from backups/ (docs/operations.md); what "
    "lies in segments/, batches/ and results/ is untouched."
)
_REFERENCES: Final = (
    ("requests", "job_id", "jobs", "job_id"),
    ("requests", "lane_id", "lanes", "lane_id"),
    ("requests", "destination_id", "destinations", "destination_id"),
    ("requests", "result_id", "results", "result_id"),
    ("batches", "lane_id", "lanes", "lane_id"),
    ("sources", "job_id", "jobs", "job_id"),
    ("segments", "source_id", "sources", "source_id"),
    ("results", "batch_id", "batches", "batch_id"),
    ("parts", "job_id", "jobs", "job_id"),
    ("parts", "result_id", "results", "result_id"),
    ("deliveries", "job_id", "jobs", "job_id"),
    ("deliveries", "result_id", "results", "result_id"),
    ("deliveries", "destination_id", "destinations", "destination_id"),
    ("creates", "batch_id", "batches", "batch_id"),
    ("provider_files", "batch_id", "batches", "batch_id"),
)
"""A column, and the table and column in which its values must be."""
_NUMBERS: Final = (
    ("jobs", "job_id"), ("jobs", "name"), ("jobs", "slug"), ("lanes", "lane_id"),
    ("batches", "batch_id"), ("segments", "segment"), ("results", "result_id"),
    ("results", "sequence"), ("parts", "part_id"), ("deliveries", "delivery_id"),
    ("destinations", "destination_id"), ("destinations", "config"), ("targets", "target"),
    ("accounts", "account"), ("meta", "key"),
)  # fmt: skip

MISSING_TARGETS: Final = """
SELECT DISTINCT target, kind FROM destinations
WHERE destination_id <> 0 AND target NOT IN (SELECT target FROM targets)
"""


def _refers(table: str, column: str, to_table: str, to_column: str) -> Rule:
    return Rule(
        kind=Kind(
            check=Check.REFERENCES,
            code=f"{table}_{column}",
            explanation=f"Rows of {table} name a {column} that {to_table} does not have, so no "
            "step finds what it needs for them.",
            remedy=_REMEDY,
        ),
        sql=f"SELECT DISTINCT '{column} ' || {column} AS id FROM {table} "
        f"ANTI JOIN {to_table} ON {table}.{column} = {to_table}.{to_column} "
        f"WHERE {table}.{column} IS NOT NULL",
    )


def _unique(table: str, column: str) -> Rule:
    return Rule(
        kind=Kind(
            check=Check.REFERENCES,
            code=f"{table}_{column}_twice",
            explanation=f"Several rows of {table} have the same {column}, so what refers to it "
            "means two things.",
            remedy=_REMEDY,
        ),
        sql=f"SELECT '{column} ' || {column} AS id FROM {table} "
        f"GROUP BY {column} HAVING count(*) > 1",
    )


_RULES: Final = (
    *(_refers(*reference) for reference in _REFERENCES),
    *(_unique(*number) for number in _NUMBERS),
    Rule(
        kind=Kind(
            check=Check.REFERENCES,
            code="deliveries_request",
            explanation="A delivery belongs to no request, so nobody knows what to push.",
            remedy=_REMEDY,
        ),
        sql="SELECT 'delivery ' || delivery_id AS id FROM deliveries "
        "ANTI JOIN requests USING (segment, row_index)",
    ),
    Rule(
        kind=Kind(
            check=Check.REFERENCES,
            code="destinations_target",
            explanation="A destination belongs to a target without a record, so deliveries to it "
            "are never due.",
            remedy="Give the target its record; what waits for it is delivered.",
            repairable=True,
        ),
        sql=f"SELECT target AS id FROM ({MISSING_TARGETS})",
    ),
    Rule(
        kind=Kind(
            check=Check.REFERENCES,
            code="attempts_delivery",
            severity=Severity.WARNING,
            explanation="Recorded attempts belong to no delivery; a later one would inherit them.",
            remedy="Forget them: nothing refers to them.",
            repairable=True,
        ),
        sql="SELECT DISTINCT 'delivery ' || delivery_id AS id FROM attempts "
        "ANTI JOIN deliveries USING (delivery_id)",
    ),
)


def check_references(examination: Examination) -> Iterator[Finding]:
    """Yield what the ledger refers to and does not have, and numbers that were given twice."""
    yield from apply(examination.reader, _RULES)
