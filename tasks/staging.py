"""Staging: claim complete files, take each into segments and ledger, put it away."""

import logging
from dataclasses import dataclass
from pathlib import Path

from batching.errors import BadInput
from batching.jobs import JobSettings, job_name_of
from batching.line_faults import Refusal, RefusalCode
from batching.requests import ReadingRules
from batching.stopping import check_stop
from storage.durable import move, remove_leftovers
from storage.formats import lines_at
from storage.growth import can_grow, grown_files, has_grown
from storage.intake_file import TakenIn, take_in
from storage.ledger import now
from storage.repeats import Repeat, find_repeats
from storage.sources import (
    JobChoice,
    Progress,
    SourceOutcome,
    SourceRecord,
    choose_job,
    forget_unrecorded_segments,
    next_segment,
    progress_of,
    record_source,
    record_unused_source,
    recorded_rejection,
    seen_before,
)
from storage.staging import (
    ClaimedFile,
    archive,
    claim,
    claimable_files,
    claimed_sources,
    put_back_side_files,
    read_side_file,
    reject_whole,
)
from tasks.resources import resources
from tasks.steps import step

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenSource:
    """What one source brought."""

    name: str
    job: str | None
    accepted: int
    rejected: int
    replayed: int
    problem: str | None = None


def claim_files() -> int:
    """Claim every complete file of the inbox; return how many.

    The caller owns the flow, so side files without a source and unfinished segments come from
    a crash.
    """
    directory, settings = resources().directory, resources().settings
    put_back_side_files(directory)
    for folder in (directory.segments, directory.rejected):
        remove_leftovers(folder)
    files = claimable_files(
        directory,
        stable_seconds=settings.file_stable_seconds,
        closing_now=resources().close_at_once,
    )
    return sum(claim(directory, path) is not None for path in files)


def sources_to_take_in() -> list[str]:
    """Return the ids of claimed sources, oldest first."""
    return [claimed.source_id for claimed in claimed_sources(resources().directory)]


@step(name="take in", run_name="take in {source_id}")
def take_in_source(source_id: str) -> TakenSource:
    """Take in one claimed source, and what it grows by meanwhile; then put it away.

    Done again after a crash it goes on behind what is recorded.
    """
    sources = claimed_sources(resources().directory)
    claimed = next((found for found in sources if found.source_id == source_id), None)
    if claimed is None:
        return _taken_away(source_id)
    rejection = recorded_rejection(resources().ledger, source_id)
    if rejection is not None:
        return _reject(claimed, rejection)
    total = TakenSource(name=claimed.name, job=None, accepted=0, rejected=0, replayed=0)
    try:
        while True:
            progress = progress_of(resources().ledger, source_id)
            if progress.parts and not _has_grown(claimed, progress):
                break
            total = _added(total, _take_in_part(claimed, read_side_file(claimed), progress))
            if total.problem is not None:
                break
    except BadInput as error:
        return _reject(claimed, str(error))
    archive(resources().directory, claimed)
    return total


def _taken_away(source_id: str) -> TakenSource:
    problem = "somebody took the file away from staging/claimed; put it into the inbox again"
    logger.warning("source gone", extra={"source": source_id, "problem": problem})
    return TakenSource(
        name=source_id, job=None, accepted=0, rejected=0, replayed=0, problem=problem
    )


def _has_grown(claimed: ClaimedFile, progress: Progress) -> bool:
    return can_grow(claimed.name) and has_grown(
        claimed.path, progress.end_offset, stable_seconds=resources().settings.file_stable_seconds
    )


def _take_in_part(
    claimed: ClaimedFile, job_settings: JobSettings, progress: Progress
) -> TakenSource:
    ledger, directory, rules = (
        resources().ledger, resources().directory, resources().reading_rules,
    )  # fmt: skip
    _check_reach(job_settings, rules)
    job = choose_job(
        ledger, stem=job_name_of(claimed.name), settings=job_settings, source_id=claimed.source_id
    )
    forget_unrecorded_segments(ledger, directory.segments, source_id=claimed.source_id)
    taken = take_in(
        directory,
        claimed,
        job=job.name,
        first_segment=next_segment(ledger, directory.segments),
        rules=rules,
        accepted_at=now(),
        job_settings=job_settings,
        start_offset=progress.end_offset if progress.parts else 0,
        first_line=progress.end_line + 1,
        part=progress.parts + 1,
    )
    source = _source_record(claimed, taken, progress)
    if not progress.parts and not job_settings.again:
        earlier = seen_before(ledger, content_hash=taken.content_hash, source_id=claimed.source_id)
        if earlier is not None:
            return _drop_known(claimed, taken, source, earlier)
    return _record(claimed, taken, source, job=job, job_settings=job_settings)


def _check_reach(job_settings: JobSettings, rules: ReadingRules) -> None:
    if job_settings.delivery_config is not None:
        reason = rules.reach.why_not(job_settings.delivery_config)
        if reason is not None:
            raise BadInput(f"the side file cannot be used: {reason}")


def _record(
    claimed: ClaimedFile,
    taken: TakenIn,
    source: SourceRecord,
    *,
    job: JobChoice,
    job_settings: JobSettings,
) -> TakenSource:
    ledger = resources().ledger
    repeats = find_repeats(ledger, taken.segments, id_hashes=taken.id_hashes, job_id=job.job_id)
    refused = [repeat for repeat in repeats if not repeat.is_replay]
    _reject_repeats(claimed.path, taken, refused, job_settings)
    check_stop()
    taken.rejected_lines.publish()
    record_source(
        ledger,
        source,
        job=job,
        settings=job_settings,
        account=resources().settings.account,
        segments=taken.segments,
        repeats=repeats,
    )
    return TakenSource(
        name=claimed.name,
        job=job.name,
        accepted=taken.accepted - len(repeats),
        rejected=taken.rejected + len(refused),
        replayed=len(repeats) - len(refused),
    )


def _reject_repeats(
    path: Path, taken: TakenIn, repeats: list[Repeat], job_settings: JobSettings
) -> None:
    if not repeats:
        return
    reasons = {repeat.line: _why_refused(repeat) for repeat in repeats}
    for line, raw in sorted(lines_at(path, reasons.keys(), job_settings).items()):
        taken.rejected_lines.add(
            line, Refusal(code=RefusalCode.DUPLICATE_CUSTOM_ID, reason=reasons[line]), raw
        )


def _why_refused(repeat: Repeat) -> str:
    where = (
        f"line {repeat.earlier_line} of this file"
        if repeat.earlier_line is not None
        else "an earlier request of this job"
    )
    same = "the same content" if repeat.same_payload else "another content"
    return f"custom_id {repeat.custom_id!r} stands already in {where}, with {same}"


def _source_record(claimed: ClaimedFile, taken: TakenIn, progress: Progress) -> SourceRecord:
    return SourceRecord(
        source_id=claimed.source_id,
        part=progress.parts + 1,
        name=claimed.name,
        content_hash=taken.content_hash,
        start_offset=progress.end_offset,
        end_offset=taken.bytes_read,
        end_line=max(taken.lines_read, progress.end_line),
        accepted=taken.accepted,
        rejected=taken.rejected,
    )


def _drop_known(
    claimed: ClaimedFile, taken: TakenIn, source: SourceRecord, job: str
) -> TakenSource:
    """Report a file that was taken in before; its segments are forgotten."""
    taken.rejected_lines.discard()
    for segment in taken.segments:
        segment.path.unlink(missing_ok=True)
    reason = (
        f"the same content was taken in before as job {job!r}; "
        "`obm submit --again` runs it once more"
    )
    record_unused_source(
        resources().ledger, source, outcome=SourceOutcome.SEEN_BEFORE, reason=reason
    )
    logger.info("source seen before", extra={"source": claimed.name, "job": job})
    return TakenSource(
        name=claimed.name, job=job, accepted=0, rejected=0, replayed=taken.accepted, problem=reason
    )


def _reject(claimed: ClaimedFile, reason: str) -> TakenSource:
    """Put a source that cannot be used aside, whole, with its reason."""
    record_unused_source(
        resources().ledger,
        SourceRecord(
            source_id=claimed.source_id, part=1, name=claimed.name, content_hash="",
            start_offset=0, end_offset=0, end_line=0, accepted=0, rejected=0,
        ),
        outcome=SourceOutcome.REJECTED,
        reason=reason,
    )  # fmt: skip
    reject_whole(resources().directory, claimed, reason)
    logger.warning("source rejected", extra={"source": claimed.name, "reason": reason})
    return TakenSource(
        name=claimed.name, job=None, accepted=0, rejected=0, replayed=0, problem=reason
    )


def _added(total: TakenSource, part: TakenSource) -> TakenSource:
    return TakenSource(
        name=total.name,
        job=part.job,
        accepted=total.accepted + part.accepted,
        rejected=total.rejected + part.rejected,
        replayed=total.replayed + part.replayed,
        problem=part.problem,
    )


def reclaim_grown_files() -> int:
    """Claim archived files again that have grown since they were read; return how many."""
    directory, settings = resources().directory, resources().settings
    with resources().ledger.transaction() as reader:
        grown = list(
            grown_files(reader, directory, at=now(), stable_seconds=settings.file_stable_seconds)
        )
    for path in grown:
        move(path, directory.claimed / path.name)
    return len(grown)
