"""The documents say what the code says, and their links lead somewhere."""

import re
import tomllib
from pathlib import Path

import pytest
from documents import DOCUMENTS, PARTS, ROOT, parts_in, renewed

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_what_a_document_takes_from_the_code_is_what_the_code_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == renewed(text), f"`make docs` writes {_name(path)} anew"


def test_every_part_of_the_code_stands_in_a_document() -> None:
    found = [name for path in DOCUMENTS for name in parts_in(path.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(PARTS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_link_inside_the_repository_leads_somewhere(path: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8"))):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def _anchors(path: Path) -> set[str]:
    headings = _HEADING.findall(_CODE.sub("", path.read_text(encoding="utf-8")))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for number, path in enumerate(sorted(folder.glob("0*.md")), 1):
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert path.name.startswith(f"{number:04d}-")
        assert f"[{title}]({path.name})" in listed
        for part in ("**Status:**", "## Context", "## Decision", "## Consequence"):
            assert part in text, path.name


def test_one_request_is_followed_through_at_most_a_dozen_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| \[`([^`]+)`\]", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) <= 12
    assert all((ROOT / name).is_file() for _, name in rows)


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert newest == project["project"]["version"]
