"""What the analytics page looks at: a stretch of time, and perhaps one model or job."""

from dataclasses import dataclass
from typing import Final

from storage.reports.buckets import Span
from storage.request_filter import Condition, RequestFilter, condition_of


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyticsFilter:
    """Which part of the past is meant."""

    span: Span
    model: str | None = None
    job: str | None = None

    @property
    def requests(self) -> Condition:
        """The model and the job as a condition on `requests`."""
        return condition_of(RequestFilter(model=self.model, job=self.job))

    @property
    def batches(self) -> Condition:
        """The model and the job as a condition on batches: of a job, those with requests of it."""
        found = Condition()
        if self.model is not None:
            found = found.also("model = ?", self.model)
        return found if self.job is None else found.also(_HAS_JOB, self.job)

    def within(self, column: str) -> Condition:
        """Return the condition that a time lies in the span."""
        return Condition(
            sql=f"{column} >= ?::TIMESTAMP AND {column} < ?::TIMESTAMP",
            parameters=(self.span.since, self.span.until),
        )


_HAS_JOB: Final = (
    "batch_id IN (SELECT batch_id FROM requests WHERE job_id IN "
    "(SELECT job_id FROM jobs WHERE name = ?))"
)
