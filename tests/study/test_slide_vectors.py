"""Vectors of whole slides, as slide encoders give them, instead of tiles: learned from, scored, and without places."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kras_plugins import study
from kras_plugins.study.notify import Silent

PATIENTS, DIM = 36, 8


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def draw(folder: Path, patients: int, seed: int) -> Path:
    """A cohort of vectors as TRIDENT writes them, beside the places of their tiles; every third patient has two."""
    rng = np.random.default_rng(seed)
    (folder / "vectors").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for i in range(patients):
        label = i % 2
        for slide in range(1 + (i % 3 == 0)):
            name = f"p{i}-{slide}"
            vector = rng.normal(size=DIM) + (np.arange(DIM) < 4) * 1.5 * label
            with h5py.File(folder / "vectors" / f"{name}.h5", "w") as f:
                f["features"], f["coords"] = vector.astype(np.float32), rng.integers(0, 9, (20, 2)) * 512
            rows.append({"patient_id": f"p{i}", "slide_id": name, "g12c": label})
    with (folder / "cohort.csv").open("w", newline="") as f:
        csv.DictWriter(f, list(rows[0])).writeheader()
        csv.DictWriter(f, list(rows[0])).writerows(rows)
    return folder


def settings(folder: Path) -> study.StudySettings:
    given = study.StudySettings(extractor="h5", classifiers=("he",), folds=2, workers=1, cache=folder / "store")
    return given.with_options(
        f"extractor.h5.folder={folder}/vectors",
        "extractor.h5.encoder=titan",
        "classifier.he.seeds=1",
        "classifier.he.hidden=32",
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort, and a study of it."""
    return draw(tmp_path_factory.mktemp("vectors"), PATIENTS, seed=0)


def test_a_study_learns_from_one_vector_a_slide_and_says_that_it_has_no_place(home: Path) -> None:
    told = Told()
    result = study.train(home / "cohort.csv", settings(home), out=home / "run", notify=told)
    found = result.auroc("he")
    assert found.n == PATIENTS and found.value > 0.85
    (said,) = [note for note in told.notes if "without a place" in note]
    assert said.startswith("Extractor h5 gives one vector per slide") and said in result.metrics["notes"]

    fresh = draw(home / "new", 6, seed=1)
    scored = study.score(home / "run" / "bundle", fresh / "cohort.csv", settings(fresh), out=home / "scores")
    assert all(0 < p < 1 for p in scored.predictions.column("he").to_pylist())
    entry = json.loads((home / "scores" / "manifest.json").read_text())["calls"][0]
    assert any("without a place" in note for note in entry["notes"])
    assert "without a place" in (home / "scores" / "p0.html").read_text()
    assert not list((home / "scores").glob("*.attention.*"))
