"""What Dockerfile, .dockerignore and docker-compose.yml say, read for the tests."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def healthcheck(name: str) -> list[str]:
    kind, *command = service(name)["healthcheck"]["test"]
    assert kind == "CMD"  # no shell: what is written here is what runs
    return command


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(name, " ".join(rest.split())) for name, rest in pairs]


def values_of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def image_command() -> list[str]:
    (command,) = values_of("CMD")
    found: list[str] = json.loads(command)
    return found


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(values_of("ENV"))))


def copied() -> list[str]:
    return [name for rest in values_of("COPY") for name in rest.split()[:-1]]


def ignored() -> list[str]:
    """Return the lines of .dockerignore, comments left out."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
