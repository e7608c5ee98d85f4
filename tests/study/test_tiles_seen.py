"""A classifier that skips tiles says so once, in training, validation and prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cohorts import write_rows

from kras_plugins import study
from kras_plugins.bags import write_bag
from kras_plugins.data import Bag, TileSpec
from kras_plugins.study.tiles_seen import tiles_seen


def test_patients_with_more_tiles_are_counted_with_the_median_share_of_theirs() -> None:
    said = tiles_seen("he", [0, 50, 100, 200, 1000, 400], 100)
    assert said.startswith("Classifier he looks at 100 tiles of a patient at most: 3 of 5 patients have more")
    assert "that it sees is 25%" in said


@pytest.mark.parametrize("tiles", [[], [0], [100, 99]])
def test_nothing_is_said_where_all_is_seen(tiles: list[int]) -> None:
    assert tiles_seen("he", tiles, 100) == ""


class Heard(study.Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def write_cohort(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        label, tiles = i % 2, 40 if i < 6 else 8
        features = (rng.normal(size=(tiles, 4)) + 2 * label).astype(np.float32)
        write_bag(
            folder / f"s{i}.h5",
            Bag(
                slide_id=f"s{i}", features=features, xy=np.arange(2 * tiles, dtype=np.int32).reshape(-1, 2) * 448,
                size=(448.0, 448.0), tile_spec=TileSpec(px=224, mpp=0.5), encoder="vit/abc", transform_hash="0123",
            ),
        )  # fmt: skip
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "histology": "LUAD", "g12c": str(label)})
    write_rows(folder / "cohort.csv", rows)


def test_every_kind_of_study_notes_it_once(tmp_path: Path) -> None:
    write_cohort(tmp_path)
    limited = [f"classifier.he.{k}" for k in ("max_tiles=10", "hidden=4", "attention=2", "seeds=1", "epochs=1")]
    settings = study.StudySettings(
        classifiers=("he",), extractor="h5", folds=2, workers=1, cache=tmp_path / "store"
    ).with_options(f"extractor.h5.folder={tmp_path}", *limited)
    plain = settings.having(options={"extractor": {"h5": {"folder": str(tmp_path)}}})  # what is frozen counts
    told = (
        "looks at 10 tiles of a patient at most: 6 of 24 patients have more; "
        "the median share of their tiles that it sees is 25%"
    )
    cohort = tmp_path / "cohort.csv"

    heard = Heard()
    trained = study.train(cohort, settings, out=tmp_path / "out", notify=heard)
    assert sum(told in text for text in heard.said) == 1
    assert sum(told in note for note in trained.metrics["notes"]) == 1
    assert told in trained.report.read_text(encoding="utf-8")

    heard = Heard()
    validated = study.validate(trained.bundle, cohort, plain, out=tmp_path / "external", notify=heard)
    assert sum(told in text for text in heard.said) == 1
    assert sum(told in note for note in validated.metrics["notes"]) == 1

    heard = Heard()
    study.score(trained.bundle, cohort, plain, out=tmp_path / "scores", notify=heard)
    assert sum(told in text for text in heard.said) == 1
    (call,) = json.loads((tmp_path / "scores" / "manifest.json").read_text())["calls"]
    assert sum(told in note for note in call["notes"]) == 1
