"""`python -m simulator`: run the simulator from the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from simulator.options import SimulatorOptions, parse_speed
from simulator.scenarios import describe_scenarios, parse_scenario
from simulator.server import run_simulator


def main() -> None:
    """Read the options and serve."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.list_scenarios:
        sys.stdout.write(describe_scenarios() + "\n")
        return
    options = SimulatorOptions(
        directory=arguments.dir,
        host=arguments.host,
        port=arguments.port,
        phase_seconds=arguments.speed,
        scenarios=tuple(arguments.scenario),
        api_key=arguments.api_key,
        accounts_by_key=arguments.accounts_by_key,
        parent_process=arguments.parent_process,
    )
    try:
        run_simulator(options)
    except OSError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--dir", type=Path, default=Path("simulator-data"), help="for its state")
    parser.add_argument("--speed", type=_speed, default=0.0, help="seconds a phase lasts, or `max`")
    parser.add_argument(
        "--scenario", action="append", default=[], type=_scenario, metavar="NAME[:PARAMETER=VALUE]"
    )
    parser.add_argument("--api-key", help="demand this key instead of taking any")
    parser.add_argument("--accounts-by-key", action="store_true", help="each key sees its own only")
    parser.add_argument("--list-scenarios", action="store_true")
    parser.add_argument("--parent-process", type=int, help="end when this process ends")
    return parser


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _scenario(text: str) -> str:
    try:
        parse_scenario(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


if __name__ == "__main__":
    main()
