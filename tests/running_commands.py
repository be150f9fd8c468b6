"""Starting a container's command as a process of this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = str(Path(sys.executable).parent)


def environment_of(*parts: Mapping[str, object]) -> dict[str, str]:
    """Return an environment without the settings of whoever runs the tests, make among them."""
    prefixes = ("OBM_", "OPENAI_", "PREFECT_", "RABBITMQ_", "MAKE", "MFLAGS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    own["PATH"] = os.pathsep.join([PROGRAMS, own.get("PATH", "")])
    for part in parts:
        own |= {name: str(value) for name, value in part.items()}
    return own


def command_environment(installation: Any, prefect_api_url: str, home: Path) -> dict[str, str]:
    """Return the environment of a command of this installation, with a Prefect server."""
    return environment_of(
        {
            "HOME": home,
            "OPENAI_API_KEY": installation.settings.openai_api_key.get_secret_value(),
            "OPENAI_BASE_URL": installation.settings.openai_base_url,
            "OBM_DATA_DIR": installation.data,
            "OBM_FILE_STABLE_SECONDS": 0,
            "OBM_BATCH_MAX_REQUESTS": 16,
            "PREFECT_API_URL": prefect_api_url,
            "PREFECT_HOME": home / "prefect",
        },
    )


def obm(*arguments: str) -> list[str]:
    """Return the command line of one of our commands."""
    return [sys.executable, "-m", "deployments.cli", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command beside the test; it is ended with SIGTERM, as Docker does it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def succeeds(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> bool:
    finished = subprocess.run(
        command, env=dict(environment), cwd=folder, capture_output=True, check=False, timeout=60
    )
    return finished.returncode == 0


def until(holds: Callable[[], bool], log: Path, *, timeout_seconds: float = 90) -> None:
    """Return when it holds; fail with the log's end when it takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
