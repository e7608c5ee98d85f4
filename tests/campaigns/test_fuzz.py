"""`make fuzz`, a few cases of each kind; and that what it looks for would be found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = (
    "cohort", "folds", "maf", "measurements", "kras.toml", "geojson", "cellvit", "halo", "parquet", "svs", "tiff",
    "dicom", "png", "jpeg", "bag", "onnx", "safetensors", "skops", "bundle", "plug-in", "service",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a short campaign says of every kind."""
    out = tmp_path_factory.mktemp("fuzz")
    command = [sys.executable, "-m", "campaigns.fuzz", "--out", str(out)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (out / "fuzz.json").exists(), ran.stderr
    return json.loads((out / "fuzz.json").read_text())  # type: ignore[no-any-return]


def test_every_kind_is_in_this_list(report: dict[str, Any]) -> None:
    assert set(report["kinds"]) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_input_ends_in_a_clear_error_or_in_the_exact_result(report: dict[str, Any], kind: str) -> None:
    assert report["kinds"][kind]["cases"] >= 2
    assert [fault for fault in report["faults"] if fault["kind"] == kind] == []


def test_each_fault_is_found_as_what_it_is() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "faulty_kind.py")], capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    assert {what: outcome for what, outcome in found.items() if what != outcome} == {}
    assert len(found) == 11
