"""The three examples are distributions of their own: installed from wheels and run as their users would."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from clean_environment import ROOT, Clean, install
from cohorts import read_rows
from networks import lay_networks
from PIL import Image
from tifffile import imread

from kras_plugins.testing import draw_cohort, draw_slide

EXAMPLES = {folder.name: folder for folder in sorted((ROOT / "examples").iterdir()) if folder.is_dir()}
RANDOM = ("--extractor", "timm_cnn", "-o", "extractor.timm_cnn.weights=random:0")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    return install(tmp_path_factory.mktemp("examples"), list(EXAMPLES.values()))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_short_described_and_passes_its_own_tests(clean: Clean, example: str) -> None:
    (module,) = EXAMPLES[example].glob("*.py")
    assert module.stem == example.replace("-", "_")
    assert len(module.read_text().splitlines()) < 60
    assert (EXAMPLES[example] / "README.md").is_file()
    done = clean.own_tests(EXAMPLES[example])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_of_tiles_is_embedded_as_the_file_it_was_cut_from(clean: Clean, tmp_path: Path) -> None:
    """Reader and extractor together: the same pixels give the same features at the same places."""
    draw_slide(tmp_path / "whole.tiff", seed=0, size_um=(512.0, 512.0), levels=1)
    pixels = imread(tmp_path / "whole.tiff")
    (tmp_path / "cut").mkdir()
    tiles = {f"{c}_{r}.png": (c, r) for c in range(4) for r in range(4)}
    for name, (c, r) in tiles.items():
        Image.fromarray(pixels[r * 256 : (r + 1) * 256, c * 256 : (c + 1) * 256]).save(tmp_path / "cut" / name)
    (tmp_path / "cut.json").write_text(json.dumps({"tile_px": 256, "mpp": 0.5, "tiles": tiles}))
    done = clean.kras("embed", "whole.tiff", "cut.json", *RANDOM, "--out", "bags", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(tmp_path / "bags" / "whole.h5") as whole, h5py.File(tmp_path / "bags" / "cut.h5") as cut:
        assert whole["features"].shape[-1] == 512
        assert len(whole["coords"][:].reshape(-1, 2)) > 4
        np.testing.assert_array_equal(cut["coords"][:], whole["coords"][:])
        np.testing.assert_array_equal(cut["features"][:], whole["features"][:])


def test_the_classifier_takes_part_in_a_run_up_to_its_report(clean: Clean, tmp_path: Path) -> None:
    draw_cohort(tmp_path, patients=12, positives=5, size_um=(704.0, 704.0), processes=1)
    lay_networks(clean.folder / "store")
    few = ("--folds", "3", "-o", "classifier.rf.trees=50", "-o", "classifier.sklearn.model=svm")
    done = clean.kras("run", "cohort.csv", "--classifiers", "sklearn,rf", *few, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    # Smaller slides have too little cancer epithelium, and calibration learns nothing.
    assert metrics["scope"]["n"] == 9
    assert {"sklearn", "rf", "ensemble"} <= set(metrics["models"])
    scores = [float(row["sklearn"]) for row in read_rows(tmp_path / "out" / "predictions.csv") if row["sklearn"]]
    assert len(set(scores)) > 3
    assert "sklearn" in (tmp_path / "out" / "report.html").read_text()
    assert len(list((tmp_path / "out" / "bundle").rglob("model.skops"))) == 3
    again = clean.kras("predict", "out/bundle", *sorted(tmp_path.glob("slides/*"))[:1], "--out", "new", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
