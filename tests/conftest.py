"""Fixtures shared by all tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import credentials, new_bucket, object_store

# The suite runs on two cores: one thread a library, so that results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# One store and one folder of temporary files for all workers, which inherit their names from the process that starts
# them. It removes both: a worker, or what a test kills, removes nothing at its end.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # what `tmp_path` is stays for a look
    made = tempfile.mkdtemp(prefix="kras-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    os.environ["KRAS_TEST_STORE"], os.environ["TMPDIR"] = f"{made}/store", f"{made}/tmp"
    for name in ("KRAS_TEST_STORE", "TMPDIR"):
        os.mkdir(os.environ[name])
    tempfile.tempdir = None  # it was asked for above
os.environ["KRAS_CACHE"] = os.environ["KRAS_TEST_STORE"]

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


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server on loopback, an emulator; the test is skipped where it is not installed."""
    with object_store() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty bucket, with its credentials in the environment and copies in a folder of the test."""
    for name, value in credentials(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRAS_LOCAL_CACHE", str(tmp_path / "copies"))
    return new_bucket(s3_endpoint)


LONGEST = (
    "test_end_to_end.py", "test_blocks.py", "test_run_on_triton.py", "test_commands.py", "test_profile_table.py",
    "test_examples.py", "test_scaffold.py", "test_telemetry.py", "test_recompute.py", "test_identity.py",
    "test_kills.py", "test_tutorial_notebook.py", "test_chaos.py", "test_fuzz.py",
)  # fmt: skip
"""A worker keeps a file to itself, and a minute's file that is begun last leaves the other worker idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; xdist keeps this order when told --no-loadscope-reorder."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))
