"""Real ingestion in a process of its own, one pass for each line it is sent; tells its memory."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class IntakeProcess:
    """A process that takes in what lies in the inbox whenever it is told to."""

    def __init__(self, data: Path) -> None:
        self.resident_mb: list[float] = []
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(data)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def take_in(self) -> None:
        """Let it take in the inbox; fail if it has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "ingestion has ended: see its messages"
        told: dict[str, Any] = json.loads(answer)
        self.resident_mb.append(told["resident_mb"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


def resident_mb() -> float:
    """Return the memory that this process has now."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1_000


def main() -> None:
    """Take in the inbox for each line of the input."""
    from plain_pipeline import plain_flows  # noqa: PLC0415 - the parent does not need it

    from batching.settings import Settings  # noqa: PLC0415 - the parent does not need it
    from tasks.resources import Resources, using  # noqa: PLC0415 - the parent does not need it

    settings = Settings(_env_file=None, data_dir=Path(sys.argv[1]), file_stable_seconds=0)
    resources = Resources(settings, close_at_once=True)
    with using(resources):
        for _ in sys.stdin:
            plain_flows()["ingest"]()
            print(json.dumps({"resident_mb": resident_mb()}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
