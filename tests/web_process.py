"""A real `obm web` for tests of the API, and requests to send to it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from running_commands import environment_of, free_port

from storage.directory import DataDirectory
from storage.log_files import lines_of, logs_in


@dataclass(kw_only=True)
class Web:
    """A running `obm web` with its data directory."""

    directory: DataDirectory
    port: int
    process: "subprocess.Popen[bytes]"
    client: httpx.Client
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)

    def inbox_names(self) -> list[str]:
        return sorted(path.name for path in self.directory.inbox.iterdir())

    def accepted_ids(self) -> list[str]:
        """Return the ids in the logs that were handed over and in the one being written."""
        folders = (self.directory.inbox, self.directory.receiving)
        logs = [log for folder in folders for log in logs_in(folder)]
        return [json.loads(line.line)["custom_id"] for log in logs for line in lines_of(log)]


StartWeb = Callable[..., Web]


def start(data: Path, *parts: str, whole: bool = False, **settings: object) -> Web:
    """Start the web role; without the dashboard unless other arguments are given."""
    arguments = () if whole else parts or ("--only", "api")
    port = free_port()
    log = data.with_suffix(".log")
    environment = environment_of(
        {
            "OBM_PORT": port,
            "OBM_DASHBOARD_PORT": port,
            "OBM_DATA_DIR": data,
            "OBM_RECEIVE_TIMEOUT": 1,
            **settings,
        }
    )
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "web", *arguments],
            env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            cwd=data.parent,
        )  # fmt: skip
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
    web = Web(directory=DataDirectory(data), port=port, process=process, client=client, log=log)
    deadline = time.monotonic() + 30
    while True:
        try:
            client.get("/api/openapi")
        except httpx.TransportError:
            assert time.monotonic() < deadline, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        else:
            return web


def end(web: Web) -> None:
    web.client.close()
    if web.process.poll() is None:
        os.kill(web.process.pid, signal.SIGKILL)
        web.process.wait()


def request_line(custom_id: str = "a1", content: str = "Hello", **more: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]},
        **more,
    }


def json_lines(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
