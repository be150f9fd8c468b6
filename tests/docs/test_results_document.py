"""docs/results.md names every code and column, and none that does not exist."""

import json
import re

from documents import ROOT

from batching.line_faults import RefusalCode, find_fault
from batching.result_lines import OwnCode, ResultLine, own_result_line, read_result_line
from storage.result_tables import TABLE_COLUMNS

TEXT = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def _first_column(heading: str) -> list[str]:
    """Return what the table below a heading has in its first column."""
    section = re.split(r"\n#+ ", TEXT.split(f" {heading}\n")[1])[0]
    return re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)


def test_it_names_exactly_the_codes_of_own_results() -> None:
    codes = {str(code) for code in OwnCode}
    assert set(_first_column("Codes of results that no provider line exists for")) == codes
    assert set(re.findall(r"`(obm_\w+)`", TEXT)) == codes


def test_it_names_exactly_the_codes_of_rejected_lines() -> None:
    assert sorted(_first_column("Rejected lines")) == sorted(str(code) for code in RefusalCode)


def test_it_names_exactly_the_columns_of_the_table() -> None:
    columns = _first_column("The table in `parts/`")
    assert sorted(columns) == sorted([*TABLE_COLUMNS, "line"])


def test_its_example_lines_are_real_ones() -> None:
    answered, own, rejected = re.findall(r"```json\n(.*?)\n```", TEXT, re.DOTALL)
    found = read_result_line(answered.encode())
    assert isinstance(found, ResultLine)
    assert found.status_code == 200
    assert own.encode() == own_result_line("ticket-0001", OwnCode.CANCELLED)
    fault = find_fault(
        b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"input":"a"}}'
    )
    assert fault is not None
    example = json.loads(rejected)
    assert (example["code"], example["reason"]) == (fault.code, fault.reason)
