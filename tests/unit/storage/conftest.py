"""A fresh store for each test, and a disk so small that it can be filled."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ailing import healthy
from factories import Store
from report_ledger import known_ledger
from small_disks import small_disk_of

from storage.directory import DataDirectory
from storage.ledger import Ledger


@pytest.fixture(scope="session")
def fresh_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one fresh data directory, of which each test gets a copy: that is quicker."""
    return Store.at(tmp_path_factory.mktemp("fresh") / "data").directory.root


@pytest.fixture
def store(tmp_path: Path, fresh_folder: Path) -> Store:
    directory = DataDirectory(shutil.copytree(fresh_folder, tmp_path / "data"))
    return Store(directory, Ledger(directory))


@pytest.fixture(scope="session")
def healthy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the system that the doctor finds healthy once, for its tests to copy and damage."""
    return healthy(Store.at(tmp_path_factory.mktemp("healthy") / "data")).directory.root


@pytest.fixture
def system(tmp_path: Path, healthy_folder: Path) -> Store:
    directory = DataDirectory(shutil.copytree(healthy_folder, tmp_path / "data"))
    return Store(directory, Ledger(directory))


@pytest.fixture(scope="session")
def known_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the ledger of which every figure is known once, for the tests of reports to copy."""
    store = Store.at(tmp_path_factory.mktemp("known") / "data")
    return known_ledger(store).directory.root


@pytest.fixture
def known(tmp_path: Path, known_folder: Path) -> Store:
    directory = DataDirectory(shutil.copytree(known_folder, tmp_path / "known"))
    return Store(directory, Ledger(directory))


@pytest.fixture
def small_disk() -> Iterator[Path]:
    yield from small_disk_of(32)
