"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# The suite runs on two cores: one thread a library, so that results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["KRAS_CACHE"] = tempfile.mkdtemp(prefix="kras-test-store-")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where it is absent."""
    folder = Path(os.environ.get("KRAS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set KRAS_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def shared_cases(shared_data: Path) -> Path:
    """The folder of other people's broken and unusual files, beside the real data."""
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests share one long run, which a worker keeps to itself; begun first, nothing waits for them."""
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")
