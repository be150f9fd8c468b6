"""A fresh data directory for each test."""

from pathlib import Path

import pytest
from factories import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "data")
