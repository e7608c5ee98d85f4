"""`kras profile`: what it writes beside the features, and cells made elsewhere drawn over their slide."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from cohorts import kras, read_rows
from PIL import Image

from kras_plugins.testing import draw_slide


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn slide, and cells of somebody else's on it."""
    folder = tmp_path_factory.mktemp("slide")
    draw_slide(folder / "one.tiff", seed=3, size_um=(512.0, 512.0))
    rng = np.random.default_rng(0)
    rows = [f"{x:.1f},{y:.1f},{'Tumor' if x < 250 else 'Lymphocyte'}" for x, y in rng.uniform(10, 500, (900, 2))]
    (folder / "one.csv").write_text("Centroid X µm,Centroid Y µm,Class\n" + "\n".join(rows), encoding="utf-8")
    return folder


IMPORTED = ("--profiler", "import", "-o", "profiler.import.cells=.", "-o", "profiler.import.mpp=0.5")


def test_all_exports_of_imported_cells_are_written(home: Path) -> None:
    ran = kras(
        "profile", "one.tiff", *IMPORTED, "--out", "all", "--gzip", "--tissue", "ome-tiff", "--overlay",
        cwd=home, store=home / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    folder = home / "all" / "one"
    assert {f.name for f in folder.iterdir()} == {
        "cells.parquet", "tissue.h5", "facts.json", "cells.geojson.gz", "tissue.geojson.gz", "tissue.ome.tiff",
        "overlay.png",
    }  # fmt: skip
    cells = json.loads(gzip.decompress((folder / "cells.geojson.gz").read_bytes()))
    assert len(cells["features"]) == 900 and cells["kras"]["mpp"] == pytest.approx(0.5)
    with Image.open(folder / "overlay.png") as picture:
        assert picture.info == {}
    (row,) = read_rows(home / "all" / "features.csv")
    assert float(row["area_ce"]) > 0.02


def test_what_is_not_asked_for_is_not_written(home: Path) -> None:
    ran = kras(
        "profile", "one.tiff", *IMPORTED, "--out", "few", "--no-geojson", "--tissue", "none",
        cwd=home, store=home / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert {f.name for f in (home / "few" / "one").iterdir()} == {"cells.parquet", "tissue.h5", "facts.json"}


def test_cells_without_a_slide_give_features_and_no_overlay(home: Path) -> None:
    ran = kras(
        "profile", "one.csv", "--profiler", "import", "-o", "profiler.import.mpp=0.5", "--out", "alone", "--overlay",
        cwd=home, store=home / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "no slide to draw" in ran.stderr
    names = {f.name for f in (home / "alone" / "one").iterdir()}
    assert {"tissue.png", "tissue.pgw", "cells.geojson", "tissue.geojson"} <= names and "overlay.png" not in names


def test_unknown_classes_are_one_line_with_a_hint(home: Path, tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("x,y,class\n1,2,Blob\n")
    ran = kras(
        "profile", "two.csv", "--profiler", "import", "-o", "profiler.import.mpp=0.5", "--out", "o",
        cwd=tmp_path, store=tmp_path / "store",
    )  # fmt: skip
    assert ran.returncode == 1
    assert "'Blob' (1)" in ran.stderr and "hint:" in ran.stderr and "Traceback" not in ran.stderr
