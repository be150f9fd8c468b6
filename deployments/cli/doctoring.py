"""`obm doctor`: prove that nothing is lost, doubled or stuck, and mend what is safe to mend."""

from dataclasses import asdict
from typing import Any, Final

from deployments.cli.surroundings import (
    existing_directory,
    load_settings,
    open_ledger,
    print_json,
    say,
)
from storage.doctor.diagnosis import examine
from storage.doctor.findings import Check, Finding, Report, Severity
from storage.doctor.repairs import Repair, treat

HEALTHY, FAULTS = 0, 3
_STYLES: Final = {Severity.FAULT: "red", Severity.WARNING: "yellow"}


def show_diagnosis(*, repair: bool, as_json: bool) -> int:
    """Print what is wrong, after mending what may be mended if asked; return the exit code."""
    settings = load_settings()
    repairs: tuple[Repair, ...] = ()
    directory = existing_directory(settings)
    if repair and directory.ledger.exists():
        treatment = treat(open_ledger(settings))
        repairs, report = treatment.repairs, treatment.report
    else:
        report = examine(directory)
    if as_json:
        print_json(_as_json(report, repairs))
    else:
        _print(report, repairs, repaired=repair)
    return HEALTHY if report.is_healthy else FAULTS


def _as_json(report: Report, repairs: tuple[Repair, ...]) -> dict[str, Any]:
    return {
        "healthy": report.is_healthy,
        **asdict(report),
        "repairs": [asdict(repair) for repair in repairs],
    }


def _print(report: Report, repairs: tuple[Repair, ...], *, repaired: bool) -> None:
    for repair in repairs:
        say(f"mended: {repair.code}, {repair.mended:,}", style="green")
        for problem in repair.problems:
            say(f"not mended: {repair.code}: {problem}", style="yellow")
    for check in Check:
        found = [finding for finding in report.findings if finding.check is check]
        say(f"{check:15} {'ok' if not found else ', '.join(each.code for each in found)}")
    for finding in report.findings:
        _print_finding(finding, repaired=repaired)
    for note in report.notes:
        say(f"note: {note}")
    looked_at = ", ".join(f"{count:,} {table}" for table, count in report.counted.items())
    verdict = "healthy" if report.is_healthy else f"{report.faults} kinds of faults"
    say(f"{verdict} ({looked_at or 'nothing'} examined in {report.seconds:.1f} s)")


def _print_finding(finding: Finding, *, repaired: bool) -> None:
    head = f"\n{finding.severity}: {finding.check}/{finding.code}, {finding.count:,} found"
    say(head, style=_STYLES[finding.severity])
    say(f"  {finding.explanation}")
    for name in finding.ids:
        say(f"    {name}")
    if finding.count > len(finding.ids):
        say(f"    and {finding.count - len(finding.ids):,} more")
    say(f"  What to do: {finding.remedy}")
    if finding.repairable and not repaired:
        say("  `obm doctor --repair` does it.")
