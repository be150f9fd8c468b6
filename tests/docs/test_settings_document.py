"""docs/configuration.md and README.md name the settings, side-file keys and exit codes."""

import re
from pathlib import Path

import pytest
from documents import ROOT, settings_rows

from batching.jobs import JobSettings, read_job_settings
from batching.settings import Settings
from deployments import until_idle
from deployments.cli import failures, submitting

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_setting_stands_in_the_table_once() -> None:
    for variable in settings_rows():
        assert len(re.findall(rf"^\| `{variable}` \|", CONFIGURATION, re.MULTILINE)) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_no_document_speaks_of_a_setting_that_does_not_exist(path: Path) -> None:
    known = {*settings_rows(), "OBM_DEBUG"}
    assert set(re.findall(r"`(OBM_[A-Z_]+[A-Z])", path.read_text(encoding="utf-8"))) <= known


def test_the_readme_speaks_of_no_setting_that_does_not_exist() -> None:
    assert set(re.findall(r"OBM_[A-Z_]+[A-Z]", README)) <= set(settings_rows())


def test_the_defaults_in_the_table_of_retention_are_the_real_ones() -> None:
    section = OPERATIONS.split("\n## Retention\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| .+ \| `(OBM_KEEP_\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) >= 6
    for variable, told in rows:
        default = float(settings_rows()[variable][0].strip("`"))
        assert told == "for ever" if default == 0 else told.split()[0] == f"{default:g}", variable


def test_every_key_of_a_side_file_is_named() -> None:
    section = CONFIGURATION.split("\n## The side file `x.job.json`\n")[1]
    named = {
        name
        for cell in re.findall(r"^\| (`.+?) \| ", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert named - {"endpoint"} == set(JobSettings.model_fields)


def test_the_example_of_a_destination_is_one_that_is_accepted() -> None:
    (example,) = re.findall(r"this version knows `(.+?)`", CONFIGURATION)
    settings = read_job_settings(f'{{"delivery_config": {example}}}'.encode())
    assert settings.delivery_config is not None


def test_the_example_of_token_limits_is_one_that_is_accepted() -> None:
    (example,) = re.findall(r"`OBM_TOKEN_LIMITS=(\S+)` is how", CONFIGURATION)
    settings = Settings(_env_file=None, OBM_TOKEN_LIMITS=example)  # type: ignore[call-arg] # the names of the environment
    assert settings.token_limits == {"gpt-4o-mini": 2_000_000, "gpt-4.1": 900_000}


def test_exit_codes_are_the_ones_that_commands_end_with() -> None:
    section = OPERATIONS.split("\n## Exit codes\n")[1].split("\n## ")[0]
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    known = {
        until_idle.ALL_WELL, until_idle.SOME_FAILED, until_idle.TIMED_OUT, until_idle.STOPPED,
        submitting.ALL_WELL, submitting.SOME_FAILED, submitting.TIMED_OUT,
        failures.WRONG_USAGE, failures.INTERRUPTED, failures.BROKEN_PIPE,
    }  # fmt: skip
    assert named == known | {1}
    in_readme = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert in_readme <= named
