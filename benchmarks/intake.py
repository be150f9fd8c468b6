"""Ingestion's figures in the form of the table; how they are measured is in `ingestion`."""

from benchmarks import ingestion
from benchmarks.figures import Figure


def measure() -> list[Figure]:
    """Return how many lines a second a large file brings, beside the bare decoding loop."""
    found = {figure.name: figure for figure in ingestion.measure()}
    ours, loop = found["ingestion"], found["floor: bare msgspec loop"]
    return [
        Figure(
            measure=f"ingestion, {ours.lines:,}", name=name, value=value, unit="lines/s",
            target=target, more_is_better=True, floor=floor,
        )
        for name, value, floor, target in (
            ("by wall time", ours.lines_a_second, loop.lines_a_second, 200_000),
            ("by the busiest thread's CPU", ours.lines_a_cpu_second, loop.lines_a_cpu_second, None),
        )
    ]  # fmt: skip
