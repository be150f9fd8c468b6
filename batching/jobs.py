"""Jobs: the settings in a side file `x.job.json`, and the names of jobs and folders."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from batching.destinations import Destination
from batching.endpoints import ENDPOINTS
from batching.errors import BadInput
from batching.faults import faults_of

SIDE_FILE_SUFFIX: Final = ".job.json"
DEFAULT_JOB: Final = "default"
LONGEST_JOB_NAME: Final = 200
_LONGEST_SLUG: Final = 80
_LARGEST_SIDE_FILE_BYTES: Final = 10_000_000
_COMPRESSIONS: Final = (".gz", ".zst")
_FORMATS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
_UNSAFE: Final = re.compile(r"[^a-z0-9._-]+")
_OF_THE_COLUMNS: Final = frozenset({"model", "messages", "input", "prompt", "stream"})

_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_JOB_NAME)]


class JobSettings(BaseModel):
    """What a side file can say about the requests beside it; nothing in it is required.

    `custom_id` is "column" (each row brings its own id; the default) or "row": rows are named
    `row-1`, `row-2` … by their place. Ids by place are only given on request, because a row
    inserted later moves all ids behind it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    label: _Name | None = None
    delivery_config: Destination | None = None
    max_wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    again: bool = False
    """Take it in although the same content was taken in before: it is sent and paid anew."""

    url: str | None = Field(None, validation_alias=AliasChoices("url", "endpoint"))
    model: _Name | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    custom_id: Literal["column", "row"] = "column"
    custom_id_column: _Name = "custom_id"
    url_column: _Name | None = None
    model_column: _Name = "model"
    body_column: _Name = "body"
    prompt_column: _Name | None = None

    @field_validator("label")
    @classmethod
    def _check_label(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable()):
            raise ValueError("must hold visible characters only")
        return value

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and value not in ENDPOINTS:
            raise ValueError(f"must be one of {', '.join(ENDPOINTS)}")
        return value

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(_OF_THE_COLUMNS & value.keys()):
            raise ValueError(f"{', '.join(taken)} cannot be set here, they come from the rows")
        return value


def read_job_settings(text: bytes) -> JobSettings:
    """Return the settings in the text of a side file; BadInput names all its faults."""
    if len(text) > _LARGEST_SIDE_FILE_BYTES:
        raise BadInput("the side file is larger than 10 MB, which no job settings need")
    try:
        return JobSettings.model_validate_json(text.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        raise BadInput("the side file cannot be used: " + "; ".join(faults_of(error))) from None


def job_name_of(file_name: str) -> str:
    """Return the job that a dropped file makes: its name without the known endings."""
    stem = _without_endings(file_name)
    visible = "".join(character for character in stem if character.isprintable()).strip()
    return visible[:LONGEST_JOB_NAME] or DEFAULT_JOB


def side_file_name(file_name: str) -> str:
    """Return what the side file of a request file is called: `x.job.json` for `x.jsonl.gz`."""
    return _without_endings(file_name) + SIDE_FILE_SUFFIX


def _without_endings(file_name: str) -> str:
    stem = PurePath(file_name).name
    for endings in (_COMPRESSIONS, _FORMATS):
        for ending in endings:
            if stem.lower().endswith(ending):
                stem = stem[: -len(ending)]
                break
    return stem


def slug(name: str) -> str:
    """Return a folder name for a job: lower case, bounded, safe on every file system.

    Different names may share a slug; who makes folders keeps them apart.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    safe = _UNSAFE.sub("-", plain).strip("-._")
    return safe[:_LONGEST_SLUG].rstrip("-._") or "job"
