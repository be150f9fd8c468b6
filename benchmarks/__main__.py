"""`make bench`: measured figures beside what is promised and what is possible, as a table."""

import argparse
import dataclasses
import json
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from benchmarks import (
    batch_work,
    dashboard,
    end_to_end,
    idle,
    intake,
    push_rabbitmq,
    push_webhooks,
    rabbitmq_intake,
    rabbitmq_publishing,
    reports,
    rest_intake,
)
from benchmarks.figures import Figure

_BASIS: list[end_to_end.Run] = []
"""The run of 50,000, which the larger ones are compared with."""


def _basis() -> end_to_end.Run:
    if not _BASIS:
        _BASIS.append(end_to_end.run_requests(50_000, line_bytes=1_024))
    return _BASIS[0]


def _fifty_thousand() -> list[Figure]:
    return end_to_end.figures_of(_basis(), cost_target=10, peak_target=300)


def _a_million() -> list[Figure]:
    run = end_to_end.run_requests(1_000_000, line_bytes=1_024)
    basis = _basis()
    measure = f"end to end, {run.requests:,}"
    return [
        *end_to_end.figures_of(
            run, cost_target=120, peak_target=1.3 * basis.pipeline.peak_megabytes
        ),
        Figure(
            measure=measure, name="cost of one request, to the run of 50,000", unit="times",
            target=1.2, value=run.cpu_microseconds_a_request / basis.cpu_microseconds_a_request,
        ),
        Figure(
            measure=measure, name="peak memory, to the run of 50,000", unit="times",
            target=1.3, value=run.pipeline.peak_megabytes / basis.pipeline.peak_megabytes,
        ),
    ]  # fmt: skip


def _five_million() -> list[Figure]:
    run = end_to_end.run_requests(5_000_000, line_bytes=150)
    return end_to_end.figures_of(run, cost_target=None, peak_target=None)


MEASURES: dict[str, Callable[[], list[Figure]]] = {
    "ingestion": intake.measure,
    "building": batch_work.measure_building,
    "collecting": batch_work.measure_collecting,
    "50k": _fifty_thousand,
    "idle": idle.measure,
    "rest": rest_intake.measure,
    "rabbitmq": rabbitmq_publishing.measure,
    "rabbitmq-intake": rabbitmq_intake.measure,
    "webhooks": push_webhooks.measure,
    "webhooks-slow": push_webhooks.measure_beside_slow,
    "rabbitmq-delivery": push_rabbitmq.measure,
    "reports": reports.measure,
    "dashboard": dashboard.measure,
    "1m": _a_million,
}
LARGE = {"5m": _five_million}


def main() -> None:
    """Measure what was asked for and print it."""
    arguments = _arguments()
    known = {**MEASURES, **LARGE}
    chosen = arguments.only or [*MEASURES, *(LARGE if arguments.large else ())]
    progress = Console(stderr=True)
    figures: list[Figure] = []
    for name in chosen:
        with progress.status(f"measuring {name}"):
            figures += known[name]()
    if arguments.json:
        print(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=2))
    else:
        Console(width=None if Console().is_terminal else 120).print(_table(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*MEASURES, *LARGE], help="repeatable")
    parser.add_argument("--large", action="store_true", help="5,000,000 requests as well")
    parser.add_argument("--json", action="store_true", help="for a script")
    return parser.parse_args()


def _table(figures: list[Figure]) -> Table:
    table = Table(title="Measured here and now; the floor is the least any program must do")
    table.add_column("Measure")
    for head in ("Figure", "Target", "Floor", "Figure / floor"):
        table.add_column(head, justify="right")
    measure = ""
    for figure in figures:
        if figure.measure != measure:
            measure = figure.measure
            table.add_section()
            table.add_row(f"[bold]{measure}[/]")
        table.add_row(f"  {figure.name}", *_cells(figure))
    return table


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    colour = {True: "green", False: "red", None: "default"}[figure.is_met]
    target = "" if figure.target is None else _number(figure.target)
    sign = ("≥ " if figure.more_is_better else "≤ ") if target else ""
    floor = "" if figure.floor is None else _number(figure.floor)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.1f} ×"  # noqa: RUF001 - a sign
    return f"[{colour}]{_number(figure.value)} {figure.unit}[/]", f"{sign}{target}", floor, ratio


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
